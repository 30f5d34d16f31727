"""The storage quota of an owner: never exceeded, also under parallel writers, and changed by staff."""

import json

import pytest
from django.test import Client

from accounts.models import User
from accounts.tests.factories import UserFactory
from audit.models import Entry
from conftest import PASSWORD, sign_in
from sites.tests.factories import SiteFactory, heading_block
from tests.admin_client import user_form
from tests.storage_helpers import add_member, assert_exact, long_document, run_in_threads, used_by
from vault.tests.api_helpers import create_vault, new_uuid, random_envelope

pytestmark = pytest.mark.django_db
MIB = 1024 * 1024
LONG_TEXT = "x" * 3000


@pytest.mark.commits
def test_twenty_parallel_writers_never_exceed_the_quota(api, other, settings):
    sites = [SiteFactory(owner=api.user) for _ in range(10)]
    for site in sites:
        add_member(site, other.user)
    create_vault(api)
    settings.OWNER_QUOTA_BYTES = used_by(api.user) + 30_000

    def write(number):
        client = (api, other)[number % 2]
        path = f"sites/{sites[number // 2].pk}"
        if number % 3:
            return client.post(f"{path}/posts", {"title": "A post", "excerpt": "x" * 450, "blocks": [text]})
        return client.put(f"{path}/blueprint", long_document(2000), if_match="*")

    text = {"id": "t", "type": "text", "v": 1, "props": {"html": LONG_TEXT}}
    responses = run_in_threads(write, range(20))

    statuses = [response.status_code for response in responses]
    assert 0 < statuses.count(413) < 20
    assert set(statuses) <= {200, 201, 413}, [response.content for response in responses]
    refused = next(response for response in responses if response.status_code == 413)
    assert refused.json()["code"] == "quota_exceeded"
    assert refused.json()["allowed"] == settings.OWNER_QUOTA_BYTES
    assert refused.json()["used"] <= settings.OWNER_QUOTA_BYTES
    assert settings.OWNER_QUOTA_BYTES - 8_000 < used_by(api.user) <= settings.OWNER_QUOTA_BYTES
    assert used_by(other.user) == 0, "the owner of a site pays, whoever writes"
    assert_exact(api.user, other.user)


@pytest.fixture
def full(api, settings):
    """A site of `api` whose owner has no room left."""
    site = SiteFactory(owner=api.user, blueprint=long_document())
    path = f"sites/{site.pk}"
    api.post(f"{path}/posts", {"title": "A post", "excerpt": "Long"})
    settings.OWNER_QUOTA_BYTES = used_by(api.user)
    return site


def growing_requests(api, site):
    """Requests that store more bytes, by name."""
    path = f"sites/{site.pk}"
    post = api.get(f"{path}/posts").json()["results"][0]["id"]
    revision = api.get(f"{path}/revisions").json()["results"][0]["id"]
    add_block = [{"op": "add", "path": "/pages/0/blocks/-", "value": heading_block("new")}]
    return {
        "create a site": lambda: api.post("sites", {"name": "B", "subdomain": "bbb"}),
        "save": lambda: api.put(f"{path}/blueprint", long_document(4000), if_match="*"),
        "patch": lambda: api.patch(f"{path}/blueprint", add_block, if_match="*"),
        "patch a block": lambda: api.patch(f"{path}/blocks/b1", {"props": {"text": "y" * 120}}, if_match="*"),
        "restore a revision": lambda: api.post(f"{path}/revisions/{revision}/restore", if_match="*"),
        "publish": lambda: api.post(f"{path}/publish"),
        "create a post": lambda: api.post(f"{path}/posts", {"title": "Another"}),
        "change a post": lambda: api.patch(f"{path}/posts/{post}", {"title": "A longer post"}, if_match="*"),
        "create a vault": lambda: api.post("vault", {"vault_id": new_uuid(), **random_envelope()}),
    }


def test_every_request_that_grows_beyond_the_quota_is_refused(api, full, settings):
    used = used_by(api.user)

    responses = {name: send() for name, send in growing_requests(api, full).items()}

    problems = {name: (response.status_code, response.json()) for name, response in responses.items()}
    expected = {"code": "quota_exceeded", "used": used, "allowed": settings.OWNER_QUOTA_BYTES}
    for name, (status, problem) in problems.items():
        assert (status, {key: problem.get(key) for key in expected}) == (413, expected), name
    assert used_by(api.user) == used
    settings.OWNER_QUOTA_BYTES = 100 * MIB
    statuses = {name: send().status_code for name, send in growing_requests(api, full).items()}
    assert set(statuses.values()) <= {200, 201}, statuses


def test_writes_that_store_less_are_accepted_above_the_quota(api, full, settings):
    path = f"sites/{full.pk}"
    post = api.get(f"{path}/posts").json()["results"][0]["id"]
    settings.OWNER_QUOTA_BYTES = 100
    used = used_by(api.user)

    responses = [
        api.patch(f"{path}/posts/{post}", {"excerpt": ""}, if_match="*"),
        api.put(f"{path}/blueprint", long_document(2000), if_match="*"),
        api.delete(f"{path}/posts/{post}", if_match="*"),
        api.patch(path, {"name": "Another name"}, if_match="*"),
        api.delete(path, if_match="*"),
    ]

    assert [response.status_code for response in responses] == [200, 200, 204, 200, 204]
    assert used_by(api.user) < used
    assert_exact(api.user)


def test_a_smaller_draft_above_the_quota_takes_the_place_of_the_oldest_revisions(api, settings):
    site = SiteFactory(owner=api.user, blueprint=long_document(1000))
    editor = sign_in(UserFactory())
    add_member(site, editor.user)
    for number, client in enumerate((api, editor, api)):
        blueprint = long_document(3000 - 100 * number)
        assert client.put(f"sites/{site.pk}/blueprint", blueprint, if_match="*").status_code == 200
    settings.OWNER_QUOTA_BYTES = 0
    used = used_by(api.user)

    response = editor.put(f"sites/{site.pk}/blueprint", long_document(2500), if_match="*")

    assert response.status_code == 200
    versions = [row["version"] for row in api.get(f"sites/{site.pk}/revisions").json()["results"]]
    assert (versions, used_by(api.user) <= used) == ([5, 4, 3], True)
    assert_exact(api.user)


def test_a_transfer_moves_the_bytes_and_needs_room(api, other, settings):
    site = SiteFactory(owner=api.user, blueprint=long_document())
    SiteFactory(owner=other.user)
    add_member(site, other.user)
    moved = used_by(api.user)
    total = moved + used_by(other.user)
    body = {"member": str(other.user.pk)}
    settings.OWNER_QUOTA_BYTES = total - 1

    refused = api.post(f"sites/{site.pk}/transfer", body)

    assert (refused.status_code, refused.json()["code"]) == (413, "quota_exceeded")
    assert (refused.json()["used"], used_by(api.user)) == (total - moved, moved)
    settings.OWNER_QUOTA_BYTES = total
    assert api.post(f"sites/{site.pk}/transfer", body).status_code == 200
    assert (used_by(api.user), used_by(other.user)) == (0, total)
    assert_exact(api.user, other.user)


def test_staff_change_the_quota_of_a_user_in_the_admin(api, password_hash):
    staff = UserFactory(role="admin", password=password_hash)
    browser = Client()
    browser.post("/admin/login/?next=/admin/", {"username": staff.email, "password": PASSWORD})
    address = f"/admin/accounts/user/{api.user.pk}/change/"
    roles = [str(role.pk) for role in api.user.roles.all()]

    assert browser.post(address, user_form(roles=roles, quota_mib="3")).status_code == 302

    assert api.get("auth/me/usage").json()["allowed"] == 3 * MIB
    (entry,) = Entry.objects.filter(event="user.quota_changed")
    assert (entry.actor_kind, entry.actor_id, entry.subject_id) == ("staff", staff.pk, api.user.pk)
    assert json.loads(entry.facts)["changes"] == {"quota_mib": [None, 3]}
    assert "0\xa0bytes of 3.0\xa0MB" in browser.get(address).content.decode()
    assert browser.post(address, user_form(roles=roles, quota_mib="")).status_code == 302
    assert api.get("auth/me/usage").json()["allowed"] == 500 * MIB


def test_the_quota_of_a_user_replaces_the_default(api, settings):
    settings.OWNER_QUOTA_BYTES = 1
    User.objects.filter(pk=api.user.pk).update(quota_mib=1)

    assert api.post("sites", {"name": "A", "subdomain": "aaa"}).status_code == 201
    User.objects.filter(pk=api.user.pk).update(quota_mib=0)
    refused = api.post("sites", {"name": "B", "subdomain": "bbb"})
    assert (refused.status_code, refused.json()["allowed"]) == (413, 0)
