"""Sites: created, listed, changed, deleted, restored and purged."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone

from accounts.models import User
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from conftest import sign_in
from core import tenancy
from core.http import preconditions
from core.tasks import purge_deleted
from sites.models import Release, Site
from sites.services import publishing
from sites.services.sites import MAX_SITES
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db
SITE = {"name": "My site", "subdomain": "my-site"}


@pytest.fixture
def site(api):
    return SiteFactory(owner=api.user)


def test_create_site_answers_201_with_location_and_version(api):
    response = api.post("sites", SITE)

    body = response.json()
    assert (response.status_code, response["Location"], response["ETag"]) == (
        201,
        f"/api/v1/sites/{body['id']}",
        '"1"',
    )
    assert {name: body[name] for name in ("name", "subdomain", "status", "release", "version", "url")} == {
        "name": "My site",
        "subdomain": "my-site",
        "status": "draft",
        "release": None,
        "version": 1,
        "url": "http://my-site.localhost:8000",
    }
    assert api.get(response["Location"]).json() == body


def test_create_site_uses_the_blueprint_of_a_template(api):
    pk = api.post("sites", {**SITE, "template": "bakery"}).json()["id"]

    blueprint = api.get(f"sites/{pk}/blueprint").json()

    assert (blueprint["settings"]["title"], len(blueprint["pages"])) == ("Marlow & Rye", 4)


def test_list_site_templates_lists_publishable_templates(api):
    listed = api.get("site-templates").json()

    assert {item["key"] for item in listed} == {"bakery", "consultancy", "portfolio"}
    for item in listed:
        pk = api.post(
            "sites", {"name": item["name"], "subdomain": f"try-{item['key']}", "template": item["key"]}
        ).json()["id"]
        assert api.post(f"sites/{pk}/publish").status_code == 201


@pytest.mark.parametrize(
    "label",
    [
        "ab",
        "-ab",
        "ab-",
        "a_b",
        "A.b",
        "www",
        "api",
        "admin",
        "xn--80ak6aa92e",
        "ab--cd",
        "é-site",
        "a" * 64,
        "site\n",
        "",
        "a.b.c",
        "UPPER",
    ],
)
def test_create_site_refuses_reserved_and_invalid_subdomains(api, label):
    response = api.post("sites", {"name": "x", "subdomain": label})

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, "/subdomain")


def test_create_site_refuses_the_subdomain_of_a_deleted_site(api, other):
    first = api.post("sites", SITE).json()

    assert other.post("sites", SITE).json()["code"] == "subdomain_taken"
    api.delete(f"sites/{first['id']}", if_match=1)
    assert other.post("sites", SITE).status_code == 409


@pytest.mark.commits
def test_create_site_creates_one_site_for_parallel_requests(api, other):
    def create(creator):
        try:
            return creator.post("sites", SITE).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(create, [api, other] * 4))

    assert statuses == [201, *[409] * 7]


@pytest.mark.commits
def test_check_site_limit_holds_for_parallel_requests(api):
    with tenancy.context(tenancy.SYSTEM):
        from sites.models import Access

        sites = Site.objects.bulk_create(
            Site(owner=api.user, name="x", subdomain=f"bulk-{number}") for number in range(MAX_SITES - 1)
        )
        Access.objects.bulk_create(Access(site=site, user=api.user, role="owner") for site in sites)

    def create(number):
        try:
            return api.post("sites", {"name": "x", "subdomain": f"extra-{number}"}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(create, range(6)))

    assert statuses == [201, *[409] * 5]


def test_change_site_needs_the_current_version(api, site):
    address = f"sites/{site.pk}"

    without = api.patch(address, {"name": "B"})
    stale = api.patch(address, {"name": "B"}, if_match=7)
    good = api.patch(address, {"name": "B", "subdomain": "moved"}, if_match=1)

    assert [response.status_code for response in (without, stale, good)] == [428, 412, 200]
    assert (good.json()["name"], good.json()["version"], good["ETag"]) == ("B", 2, '"2"')
    assert api.get(address).json() == good.json()


@pytest.mark.parametrize(
    "field", ["id", "owner", "status", "version", "live_release", "deleted_at", "template"]
)
def test_change_site_refuses_read_only_fields(api, site, field):
    response = api.patch(f"sites/{site.pk}", {field: "x"}, if_match=1)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, "unknown_field")


@pytest.mark.commits
def test_change_site_accepts_one_of_twenty_parallel_clients(api, site):
    def change(number):
        try:
            return api.patch(f"sites/{site.pk}", {"name": f"Name {number}"}, if_match=1).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(change, range(20)))

    assert statuses == [200, *[412] * 19]


def test_restore_site_undoes_delete_site(api, site):
    address = f"sites/{site.pk}"
    api.post(f"{address}/publish")
    before = api.get(address).json()

    assert api.delete(address, if_match=before["version"]).status_code == 204
    responses_while_deleted = [
        api.get(address),
        api.get(f"{address}/blueprint"),
        api.get(f"{address}/releases"),
        api.post(f"{address}/publish"),
    ]
    assert [response.status_code for response in responses_while_deleted] == [404] * 4
    assert api.get("sites").json()["results"] == []

    restored = api.post(f"{address}/restore")
    changing_fields = {"version", "updated_at"}
    assert restored.status_code == 200
    assert {k: v for k, v in restored.json().items() if k not in changing_fields} == {
        k: v for k, v in before.items() if k not in changing_fields
    }
    assert api.post(f"{address}/restore").json()["code"] == "not_deleted"


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.commits
def test_list_sites_runs_one_query_in_its_context(api, rows, django_assert_num_queries):
    SiteFactory.create_batch(rows, owner=api.user)
    api.get("config")  # the first request fills the empty Redis

    with django_assert_num_queries(4):  # BEGIN, the context, the list, COMMIT
        assert len(api.get("sites").json()["results"]) == rows


def test_list_sites_paginates_without_gaps_while_rows_are_added(api):
    sites = SiteFactory.create_batch(7, owner=api.user)
    newest_first = [str(site.pk) for site in reversed(sites)]

    first = api.get("sites?limit=3&count=true").json()
    SiteFactory(owner=api.user)
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()
    back = api.get(second["previous"]).json()

    listed_ids = [item["id"] for body in (first, second, third) for item in body["results"]]
    assert (listed_ids, first["count"], first["previous"], third["next"]) == (newest_first, 7, None, None)
    assert [item["id"] for item in back["results"]] == newest_first[:3]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1e2",
        "limit=" + "9" * 5000,
        "limit=٣",
        "cursor=x",
        "cursor=",
        "cursor=WzFd",
        "cursor=WyJuIiwgIngiXQ",
        "cursor=bnVsbA",
        "ordering=owner__password",
        "owner=1",
        "filter[__]=1",
        "_connector=OR",
    ],
)
def test_list_sites_refuses_unknown_and_invalid_parameters(api, query):
    response = api.get(f"sites?{query}")

    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"x"', "application/json", 400),
        (b"null", "application/json", 400),
        (b'{"name": "a", "name": "b", "subdomain": "x-y"}', "application/json", 400),
        (b'{"name": "\\u0000", "subdomain": "x-y"}', "application/json", 400),
        (b'{"name": "\\ud800", "subdomain": "x-y"}', "application/json", 400),
        (b'{"name": {"a": 1}, "subdomain": []}', "application/json", 400),
        (b'{"name": 1e999, "subdomain": "x-y"}', "application/json", 400),
        (b"[" * 70_000, "application/json", 413),
        (b'{"name": "' + b"x" * 70_000 + b'"}', "application/json", 413),
        (b"[" * 60_000, "application/json", 400),
        (b"name=a", "application/x-www-form-urlencoded", 415),
        (b"name=a", "multipart/form-data; boundary=x", 415),
        (b"{}", "text/plain", 415),
        (b"\xff\xfe\xfd", "application/json", 400),
    ],
)
def test_create_site_answers_broken_bodies_with_a_problem(api, body, kind, status):
    headers = {"Authorization": f"Bearer {api.access}"}

    response = api.client.generic("POST", "/api/v1/sites", body, content_type=kind, headers=headers)

    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.count() == 0


def test_retrieve_site_ignores_a_slash_at_the_end(api, site):
    assert api.get(f"sites/{site.pk}/").content == api.get(f"sites/{site.pk}").content


def test_list_sites_lists_own_sites_only(api, other):
    own_site = SiteFactory(owner=api.user)
    other_site = SiteFactory(owner=other.user)

    assert [item["id"] for item in api.get("sites").json()["results"]] == [str(own_site.pk)]
    assert [item["id"] for item in other.get("sites").json()["results"]] == [str(other_site.pk)]


def test_restore_sites_of_restores_sites_deleted_with_the_account_only(api):
    from accounts.services.users import restore_user

    kept_site = SiteFactory(owner=api.user)
    deleted_site = SiteFactory(owner=api.user)
    api.delete(f"sites/{deleted_site.pk}", if_match=1)

    api.delete("auth/me", if_match=api.user.version)
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.alive().count() == 0
    restore_user(api.user.pk, actor=SYSTEM, now=timezone.now())

    api.user.refresh_from_db()
    api_after_restore = sign_in(api.user)
    assert [item["id"] for item in api_after_restore.get("sites").json()["results"]] == [str(kept_site.pk)]


def test_delete_site_needs_the_current_version(api, site):
    statuses = [
        api.delete(f"sites/{site.pk}", if_match=tag).status_code for tag in (None, 7, '"7", "8"', '"7", "1"')
    ]

    assert statuses == [428, 412, 412, 204]


def test_change_site_accepts_a_star_as_if_match(api, site):
    assert api.patch(f"sites/{site.pk}", {"name": "B"}, if_match="*").json()["name"] == "B"


def test_purge_sites_deletes_expired_sites_only(api):
    now = timezone.now()
    long_ago = now - settings.SOFT_DELETE_FOR - timedelta(hours=1)
    lately = now - settings.SOFT_DELETE_FOR + timedelta(hours=1)
    alive, recently_deleted_site, expired_site = (SiteFactory(owner=api.user) for _ in range(3))
    expired_user = UserFactory()
    recently_deleted_user = UserFactory()
    other_site = SiteFactory(owner=expired_user)
    with tenancy.context(tenancy.SYSTEM):
        publishing.publish_site(expired_site, actor=SYSTEM, if_match=preconditions.IfMatch(None))
        Site.objects.filter(pk__in=[expired_site.pk, other_site.pk]).update(deleted_at=long_ago)
        Site.objects.filter(pk=recently_deleted_site.pk).update(deleted_at=lately)
    User.objects.filter(pk=expired_user.pk).update(deleted_at=long_ago)
    User.objects.filter(pk=recently_deleted_user.pk).update(deleted_at=lately)

    purge_deleted.apply().get()

    with tenancy.context(tenancy.SYSTEM):
        assert set(Site.objects.values_list("pk", flat=True)) == {alive.pk, recently_deleted_site.pk}
        assert Release.objects.count() == 0
    assert set(User.objects.values_list("pk", flat=True)) == {api.user.pk, recently_deleted_user.pk}


@pytest.mark.parametrize("name", ["Ring\n\n0900", "a\u202eb", "a\u2028b", "\x07", "a\x85b"])
def test_change_site_refuses_invisible_characters_in_the_name(team, name):
    assert team.owner.patch(team.path(), {"name": name}, if_match="*").status_code == 400
