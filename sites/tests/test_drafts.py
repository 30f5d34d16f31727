"""Drafts: saved whole, patched, and changed block by block under conditional requests."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from core import tenancy
from sites.blueprint.json_patch import MAX_OPERATIONS, merge_patch
from sites.models import Draft
from sites.tests.api_calls import patch_blueprint, replace_title
from sites.tests.factories import SiteFactory, document, heading_block, page

pytestmark = pytest.mark.django_db


@pytest.fixture
def site(api):
    home = page(blocks=[heading_block(f"b{number}") for number in range(20)])
    return SiteFactory(owner=api.user, blueprint=document(home))


def test_patch_blueprint_needs_the_current_version(api, site):
    assert patch_blueprint(api, site, replace_title("A")).status_code == 428
    assert patch_blueprint(api, site, replace_title("A"), if_match=9).status_code == 412
    response = patch_blueprint(
        api,
        site,
        {"op": "test", "path": "/settings/title", "value": "A site"},
        replace_title("A"),
        if_match=1,
    )

    assert (response.status_code, response["ETag"], response.json()["settings"]["title"]) == (200, '"2"', "A")
    assert api.get(f"sites/{site.pk}/blueprint").json() == response.json()


def test_patch_blueprint_accepts_the_json_patch_media_type(api, site):
    headers = {"Authorization": f"Bearer {api.access}", "If-Match": '"1"'}
    body = json.dumps([replace_title("B")])

    response = api.client.generic(
        "PATCH",
        f"/api/v1/sites/{site.pk}/blueprint",
        body,
        content_type="application/json-patch+json",
        headers=headers,
    )

    assert response.status_code == 200
    other = api.client.generic(
        "PATCH", f"/api/v1/sites/{site.pk}", body, content_type="application/json-patch+json", headers=headers
    )
    assert other.status_code == 415


def test_patch_blueprint_changes_nothing_when_a_test_operation_fails(api, site):
    response = patch_blueprint(
        api, site, replace_title("A"), {"op": "test", "path": "/settings/title", "value": "Z"}, if_match=1
    )

    assert (response.status_code, response.json()["code"]) == (409, "patch_test_failed")
    assert api.get(f"sites/{site.pk}/blueprint")["ETag"] == '"1"'


BOMB = [{"op": "add", "path": "/x", "value": {"a": "y" * 1000}}] + [
    {"op": "copy", "from": "/x", "path": f"/x/{number}"} for number in range(60)
]


@pytest.mark.parametrize(
    "operations",
    [
        {},
        "x",
        [5],
        [[]],
        [{}],
        [{"op": "add"}],
        [{"op": "evil", "path": "/x"}],
        [{"op": "add", "path": 5, "value": 1}],
        [{"op": "add", "path": "", "value": {}}],
        [{"op": "remove", "path": ""}],
        [{"op": "replace", "path": "/nowhere/at/all", "value": 1}],
        [{"op": "remove", "path": "/pages/99"}],
        [{"op": "add", "path": "/pages/-1", "value": {}}],
        [{"op": "move", "from": "/pages", "path": "/pages/0"}],
        [{"op": "copy", "path": "/x"}],
        [{"op": "copy", "from": 5, "path": "/x"}],
        [{"op": "add", "path": "/__class__", "value": 1}],
        [{"op": "add", "path": "/pages/0/~2", "value": 1}],
        [{"op": "add", "path": "pages", "value": 1}],
        [{"op": "move", "from": "/settings", "path": "/settings/x"}],
        [replace_title("A")] * (MAX_OPERATIONS + 1),
        BOMB,
        [{"op": "add", "path": "/settings/title", "value": 5}],
        [{"op": "add", "path": "/pages/0/blocks/99999999999999999999", "value": 1}],
        [{"op": "add", "path": "/pages/01", "value": {}}],
        [{"op": "test", "path": "/nowhere", "value": 1}],
    ],
)
def test_patch_blueprint_refuses_invalid_operations(api, site, operations):
    response = api.patch(f"sites/{site.pk}/blueprint", operations, if_match=1)

    assert response.status_code in {400, 409}, response.content
    assert api.get(f"sites/{site.pk}/blueprint")["ETag"] == '"1"'


def test_patch_block_conflicts_on_the_same_block_only(api, site):
    address = f"sites/{site.pk}/blocks"
    tags = {name: api.get(f"{address}/{name}")["ETag"] for name in ("b0", "b1")}

    first = api.patch(f"{address}/b0", {"props": {"text": "one"}}, if_match=tags["b0"])
    second = api.patch(f"{address}/b1", {"props": {"text": "two"}}, if_match=tags["b1"])
    stale = api.patch(f"{address}/b0", {"props": {"text": "late"}}, if_match=tags["b0"])

    assert [response.status_code for response in (first, second, stale)] == [200, 200, 412]
    assert first["ETag"] == api.get(f"{address}/b0")["ETag"] != tags["b0"]
    blocks = api.get(f"sites/{site.pk}/blueprint").json()["pages"][0]["blocks"]
    assert [block["props"]["text"] for block in blocks[:2]] == ["one", "two"]
    assert api.get(f"sites/{site.pk}/blueprint")["ETag"] == '"3"'


@pytest.mark.commits
def test_patch_blueprint_keeps_every_change_of_twenty_retrying_clients(api, site):
    """Each client adds one block, and reads the draft again after every 412."""

    def add_block(number):
        block = {"op": "add", "path": "/pages/0/blocks/-", "value": heading_block(f"by-{number}")}
        try:
            while True:
                version = api.get(f"sites/{site.pk}/blueprint")["ETag"]
                response = patch_blueprint(api, site, block, if_match=version)
                if response.status_code == 200:
                    return response["ETag"]
                assert response.status_code == 412
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(add_block, range(20)))

    assert sorted(versions, key=lambda tag: int(tag.strip('"'))) == [f'"{number}"' for number in range(2, 22)]
    blocks = {block["id"] for block in api.get(f"sites/{site.pk}/blueprint").json()["pages"][0]["blocks"]}
    assert {f"by-{number}" for number in range(20)} <= blocks


@pytest.mark.commits
def test_patch_block_keeps_every_change_of_twenty_parallel_clients(api, site):
    def change_block(number):
        try:
            tag = api.get(f"sites/{site.pk}/blocks/b{number}")["ETag"]
            body = {"props": {"text": f"by {number}"}}
            return api.patch(f"sites/{site.pk}/blocks/b{number}", body, if_match=tag).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(change_block, range(20))) == [200] * 20

    draft = api.get(f"sites/{site.pk}/blueprint")
    assert [block["props"]["text"] for block in draft.json()["pages"][0]["blocks"]] == [
        f"by {n}" for n in range(20)
    ]
    assert draft["ETag"] == '"21"'
    revisions = api.get(f"sites/{site.pk}/revisions").json()["results"]
    assert [row["version"] for row in revisions] == [21, 1], "saves of one author share a revision"


@pytest.mark.commits
def test_patch_blueprint_accepts_one_of_twenty_parallel_clients(api, site):
    def change_title(number):
        try:
            return patch_blueprint(api, site, replace_title(f"by {number}"), if_match=1).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(change_title, range(20))) == [200] + [412] * 19


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"id": "other"}, 400),
        ({"type": "text"}, 400),
        ({"props": {"nope": 1}}, 400),
        ({"props": None}, 400),
        ({"props": {"text": None}}, 400),
        ({"slots": {}}, 200),
        ({"slots": {"items": []}}, 400),
        ({}, 200),
    ],
)
def test_patch_block_keeps_the_id_the_type_and_the_shape(api, site, changes, status):
    assert api.patch(f"sites/{site.pk}/blocks/b0", changes, if_match="*").status_code == status


def test_patch_block_needs_the_strong_etag_of_an_existing_block(api, site):
    tag = api.get(f"sites/{site.pk}/blocks/b0")["ETag"]

    statuses = [
        api.patch(f"sites/{site.pk}/blocks/b0", {}, if_match=etag).status_code
        for etag in (f"W/{tag}", '"1"', tag.strip('"'), f'"x", {tag}')
    ]

    assert statuses == [412, 412, 412, 200]
    assert api.patch(f"sites/{site.pk}/blocks/b0", {}).status_code == 428
    assert api.get(f"sites/{site.pk}/blocks/none").status_code == 404
    assert api.patch(f"sites/{site.pk}/blocks/none", {}, if_match="*").status_code == 404


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3) | st.lists(inner, max_size=2),
    )
)
def test_merge_patch_is_idempotent(value):
    once = merge_patch({"a": {"b": 1}}, value)

    assert merge_patch(once, {}) == once if isinstance(once, dict) else True
    assert merge_patch(once, value) == once


@pytest.mark.commits
def test_publish_site_and_patch_draft_do_not_deadlock(api, site):
    """A save locks the draft and then the site by a foreign key; a publish locks them the other way round."""

    def save_or_publish(number):
        try:
            if number % 2:
                return api.post(f"sites/{site.pk}/publish").status_code
            return patch_blueprint(api, site, replace_title(f"T{number}"), if_match="*").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(save_or_publish, range(40))) == [200, 201] * 20


@pytest.mark.commits
def test_save_draft_accepts_one_of_sixteen_parallel_clients(api, site):
    def save(number):
        try:
            return api.put(
                f"sites/{site.pk}/blueprint", document(page("/", title=f"Title {number}")), if_match=1
            ).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(save, range(16)))

    assert statuses == [200, *[412] * 15]
    with tenancy.context(tenancy.SYSTEM):
        assert Draft.objects.get(site=site).version == 2


def test_save_blueprint_stores_the_document_unchanged(api, site):
    address = f"sites/{site.pk}/blueprint"
    blueprint = document(
        page("/"), page("/about"), navigation=[{"label": "About", "link": {"page": "about"}}]
    )

    assert api.put(address, blueprint).status_code == 428
    saved = api.put(address, blueprint, if_match=1)

    assert (saved.status_code, saved["ETag"]) == (200, '"2"')
    assert (saved.json(), api.get(address).json()) == (blueprint, blueprint)
    assert api.put(address, blueprint, if_match=1).status_code == 412


def test_save_without_a_body_is_refused_as_an_empty_document(api, site):
    response = api.client.generic(
        "PUT",
        f"/api/v1/sites/{site.pk}/blueprint",
        headers={"Authorization": f"Bearer {api.access}", "If-Match": "*"},
    )

    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
