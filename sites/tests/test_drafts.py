"""Drafts: patches, blocks, revisions, differences. Nothing is overwritten that the client has not seen."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.db.utils import DatabaseError
from hypothesis import given
from hypothesis import strategies as st

from core import tenancy
from sites.blueprint.diff import _moved_ids, diff_blueprints
from sites.blueprint.json_patch import MAX_OPERATIONS, merge_patch
from sites.models import Draft, Revision
from sites.services import drafts
from sites.tests.factories import SiteFactory, document, page

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)


def heading(pk, text="x"):
    return {"id": pk, "type": "heading", "v": 1, "props": {"text": text}}


@pytest.fixture
def site(api):
    home = page(blocks=[heading(f"b{number}") for number in range(20)])
    return SiteFactory(owner=api.user, blueprint=document(home))


def patch(api, site, *operations, **options):
    return api.patch(f"sites/{site.pk}/blueprint", list(operations), **options)


def title(value):
    return {"op": "replace", "path": "/settings/title", "value": value}


def test_a_patch_changes_parts_under_the_drafts_version(api, site):
    assert patch(api, site, title("A")).status_code == 428
    assert patch(api, site, title("A"), if_match=9).status_code == 412
    done = patch(
        api, site, {"op": "test", "path": "/settings/title", "value": "A site"}, title("A"), if_match=1
    )

    assert (done.status_code, done["ETag"], done.json()["settings"]["title"]) == (200, '"2"', "A")
    assert api.get(f"sites/{site.pk}/blueprint").json() == done.json()


def test_a_patch_is_taken_under_its_own_media_type_too(api, site):
    import json

    headers = {"Authorization": f"Bearer {api.access}", "If-Match": '"1"'}
    body = json.dumps([title("B")])

    answer = api.client.generic(
        "PATCH",
        f"/api/v1/sites/{site.pk}/blueprint",
        body,
        content_type="application/json-patch+json",
        headers=headers,
    )

    assert answer.status_code == 200
    other = api.client.generic(
        "PATCH", f"/api/v1/sites/{site.pk}", body, content_type="application/json-patch+json", headers=headers
    )
    assert other.status_code == 415


def test_a_test_that_does_not_hold_changes_nothing(api, site):
    answer = patch(api, site, title("A"), {"op": "test", "path": "/settings/title", "value": "Z"}, if_match=1)

    assert (answer.status_code, answer.json()["code"]) == (409, "patch_test_failed")
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
        [title("A")] * (MAX_OPERATIONS + 1),
        BOMB,
        [{"op": "add", "path": "/settings/title", "value": 5}],
        [{"op": "add", "path": "/pages/0/blocks/99999999999999999999", "value": 1}],
        [{"op": "add", "path": "/pages/01", "value": {}}],
        [{"op": "test", "path": "/nowhere", "value": 1}],
    ],
)
def test_a_patch_that_cannot_be_done_is_refused_and_changes_nothing(api, site, operations):
    answer = api.patch(f"sites/{site.pk}/blueprint", operations, if_match=1)

    assert answer.status_code in {400, 409}, answer.content
    assert api.get(f"sites/{site.pk}/blueprint")["ETag"] == '"1"'


def test_two_editors_on_two_blocks_both_survive_and_on_one_block_one(api, site):
    address = f"sites/{site.pk}/blocks"
    tags = {name: api.get(f"{address}/{name}")["ETag"] for name in ("b0", "b1")}

    first = api.patch(f"{address}/b0", {"props": {"text": "one"}}, if_match=tags["b0"])
    second = api.patch(f"{address}/b1", {"props": {"text": "two"}}, if_match=tags["b1"])
    late = api.patch(f"{address}/b0", {"props": {"text": "late"}}, if_match=tags["b0"])

    assert [answer.status_code for answer in (first, second, late)] == [200, 200, 412]
    assert first["ETag"] == api.get(f"{address}/b0")["ETag"] != tags["b0"]
    blocks = api.get(f"sites/{site.pk}/blueprint").json()["pages"][0]["blocks"]
    assert [block["props"]["text"] for block in blocks[:2]] == ["one", "two"]
    assert api.get(f"sites/{site.pk}/blueprint")["ETag"] == '"3"'


@pytest.mark.commits
def test_twenty_writers_on_one_draft_get_one_200_for_each_version_and_lose_nothing(api, site):
    """Each adds a block of its own, reading again whenever somebody else was first."""

    def write(number):
        block = {"op": "add", "path": "/pages/0/blocks/-", "value": heading(f"by-{number}")}
        try:
            while True:
                version = api.get(f"sites/{site.pk}/blueprint")["ETag"]
                answer = patch(api, site, block, if_match=version)
                if answer.status_code == 200:
                    return answer["ETag"]
                assert answer.status_code == 412
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(write, range(20)))

    assert sorted(versions, key=lambda tag: int(tag.strip('"'))) == [f'"{number}"' for number in range(2, 22)]
    blocks = {block["id"] for block in api.get(f"sites/{site.pk}/blueprint").json()["pages"][0]["blocks"]}
    assert {f"by-{number}" for number in range(20)} <= blocks


@pytest.mark.commits
def test_twenty_editors_on_twenty_blocks_at_once_lose_nothing(api, site):
    def edit(number):
        try:
            tag = api.get(f"sites/{site.pk}/blocks/b{number}")["ETag"]
            body = {"props": {"text": f"by {number}"}}
            return api.patch(f"sites/{site.pk}/blocks/b{number}", body, if_match=tag).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(edit, range(20))) == [200] * 20

    draft = api.get(f"sites/{site.pk}/blueprint")
    assert [block["props"]["text"] for block in draft.json()["pages"][0]["blocks"]] == [
        f"by {n}" for n in range(20)
    ]
    assert draft["ETag"] == '"21"'
    assert api.get(f"sites/{site.pk}/revisions?count=true").json()["count"] == 21


@pytest.mark.commits
def test_twenty_writers_of_one_draft_get_one_200_for_each_version(api, site):
    def write(number):
        try:
            return patch(api, site, title(f"by {number}"), if_match=1).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(20))) == [200] + [412] * 19


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
def test_a_block_stays_a_block_of_its_kind(api, site, changes, status):
    assert api.patch(f"sites/{site.pk}/blocks/b0", changes, if_match="*").status_code == status


def test_a_block_needs_its_own_strong_tag_and_to_be_there(api, site):
    tag = api.get(f"sites/{site.pk}/blocks/b0")["ETag"]

    statuses = [
        api.patch(f"sites/{site.pk}/blocks/b0", {}, if_match=given).status_code
        for given in (f"W/{tag}", '"1"', tag.strip('"'), f'"x", {tag}')
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
def test_merging_nothing_changes_nothing_and_merging_twice_is_merging_once(value):
    once = merge_patch({"a": {"b": 1}}, value)

    assert merge_patch(once, {}) == once if isinstance(once, dict) else True
    assert merge_patch(once, value) == once


def test_every_save_is_a_revision_that_comes_back_as_it_was(api, site):
    first = api.get(f"sites/{site.pk}/blueprint").json()
    patch(api, site, title("Second"), if_match=1)
    patch(api, site, title("Third"), if_match=2)

    rows = api.get(f"sites/{site.pk}/revisions").json()["results"]

    assert [(row["version"], row["author"]) for row in rows] == [
        (3, str(api.user.pk)),
        (2, str(api.user.pk)),
        (1, str(api.user.pk)),
    ]
    assert api.get(f"sites/{site.pk}/revisions/{rows[2]['id']}").json() == first
    assert api.post(f"sites/{site.pk}/revisions/{rows[2]['id']}/restore").status_code == 428
    restored = api.post(f"sites/{site.pk}/revisions/{rows[2]['id']}/restore", if_match=3)
    assert (restored.json(), restored["ETag"]) == (first, '"4"')
    assert len(api.get(f"sites/{site.pk}/revisions").json()["results"]) == 4


def test_a_release_comes_back_as_a_draft_and_visitors_see_no_change(api, site):
    release = api.post(f"sites/{site.pk}/publish").json()
    patch(api, site, title("Second"), if_match=1)

    restored = api.post(f"sites/{site.pk}/releases/{release['id']}/restore", if_match=2)

    assert (restored.status_code, restored.json()["settings"]["title"]) == (200, "A site")
    assert api.get(f"sites/{site.pk}").json()["release"] == 1


@pytest.mark.commits
def test_a_revision_is_never_changed(site):
    with (
        tenancy.context(tenancy.SYSTEM),
        pytest.raises(DatabaseError, match="never changed"),
    ):
        Revision.objects.update(version=99)


def test_differences_tell_what_was_added_removed_moved_and_changed(api, site):
    before = document(page(blocks=[heading("a"), heading("b"), heading("c"), heading("d")]), page("/old"))
    after = document(
        page(title="Renamed", blocks=[heading("d"), heading("a"), heading("b", "changed"), heading("new")]),
        page("/fresh", blocks=[heading("c")]),
        settings={"title": "Other"},
    )

    told = diff_blueprints(before, after)

    assert told["parts"] == ["settings"]
    assert {name: [row["id"] for row in rows] for name, rows in told["pages"].items()} == {
        "added": ["fresh"],
        "removed": ["old"],
        "moved": [],
        "changed": ["home"],
    }
    assert {name: [row["id"] for row in rows] for name, rows in told["blocks"].items()} == {
        "added": ["new"],
        "removed": ["old-h"],
        "moved": ["d", "c"],
        "changed": ["b"],
    }


def test_any_two_states_can_be_compared(api, site):
    release = api.post(f"sites/{site.pk}/publish").json()["id"]
    first = api.get(f"sites/{site.pk}/revisions").json()["results"][0]["id"]
    patch(api, site, title("Second"), {"op": "remove", "path": "/pages/0/blocks/3"}, if_match=1)

    for before in (f"revision:{first}", f"release:{release}", "live"):
        told = api.get(f"sites/{site.pk}/differences?from={before}").json()
        assert (told["parts"], [row["id"] for row in told["blocks"]["removed"]]) == (["settings"], ["b3"])
    same = api.get(f"sites/{site.pk}/differences").json()
    assert (
        same["parts"],
        [rows for part in ("pages", "blocks") for rows in same[part].values() if rows],
    ) == ([], [])
    for wrong in ("x", "revision:x", "draft:1", "revision:"):
        assert api.get(f"sites/{site.pk}/differences?from={wrong}").status_code == 400
    assert api.get(f"sites/{site.pk}/differences?from=revision:{release}").status_code == 404


@given(st.permutations(list("abcdefgh")))
def test_as_few_as_can_be_are_told_to_have_moved(order):
    moved = _moved_ids(list("abcdefgh"), order)

    stayed = [pk for pk in order if pk not in moved]
    assert stayed == sorted(stayed)
    longest = max(sum(1 for _ in run) for run in runs(order))
    assert len(stayed) >= longest


def runs(order):
    """Rising runs of neighbours."""
    current = [order[0]]
    for pk in order[1:]:
        if pk > current[-1]:
            current.append(pk)
        else:
            yield current
            current = [pk]
    yield current


@pytest.mark.commits
def test_revisions_are_thinned_by_age_and_the_newest_stays(site):
    ages = [timedelta(minutes=10 * n) for n in range(1, 200)] + [timedelta(days=n) for n in range(2, 200)]
    with tenancy.context(tenancy.SYSTEM):
        Revision.objects.all().delete()
        Revision.objects.bulk_create(
            Revision(site=site, version=number + 1, blueprint={}, size=2) for number in range(len(ages))
        )
    with tenancy.context(tenancy.SYSTEM):
        stamp(NOW, sorted(ages, reverse=True))
    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=NOW)
        kept = [NOW - moment for moment in Revision.objects.values_list("created_at", flat=True)]
        again = drafts.thin_revisions(now=NOW)
        drafts.thin_revisions(now=NOW + timedelta(days=3000))
        last = list(Revision.objects.values_list("version", flat=True))

    day = timedelta(days=1)
    week = timedelta(days=7)
    assert len([age for age in kept if age <= day]) == 144
    assert len([age for age in kept if day < age <= week]) <= 24 + 6
    assert len([age for age in kept if age > timedelta(days=90)]) <= 16
    assert again == 0
    assert last == [max(last)]


def stamp(now, ages):
    """Give the rows their ages: the trigger guards `created_at`, so it is stood down for this."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sites_revision DISABLE TRIGGER revision_is_final")
        for number, age in enumerate(ages):
            cursor.execute(
                "UPDATE sites_revision SET created_at = %s WHERE version = %s", [now - age, number + 1]
            )
        cursor.execute("ALTER TABLE sites_revision ENABLE TRIGGER revision_is_final")


def test_drafts_and_revisions_of_others_are_absent(api, other, site):
    row = api.get(f"sites/{site.pk}/revisions").json()["results"][0]["id"]
    mine = SiteFactory(owner=other.user)

    tries = [
        other.get(f"sites/{site.pk}/revisions"),
        other.get(f"sites/{mine.pk}/revisions/{row}"),
        other.get(f"sites/{mine.pk}/differences?from=revision:{row}"),
    ]

    assert [answer.status_code for answer in tries] == [404] * 3
    assert Draft.objects.count() == 0, "without a context there are no rows"


@pytest.mark.commits
def test_publishing_and_saving_at_once_wait_for_each_other_and_do_not_fail(api, site):
    """A save locks the draft and refers to the site; a publish locks the site and then the draft."""

    def act(number):
        try:
            if number % 2:
                return api.post(f"sites/{site.pk}/publish").status_code
            return patch(api, site, title(f"T{number}"), if_match="*").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(act, range(40))) == [200, 201] * 20
