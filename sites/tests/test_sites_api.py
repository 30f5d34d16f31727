"""Sites over HTTP: make, change, publish, hide, bring back."""

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
from sites.models import Draft, Release, Site
from sites.services import publishing
from sites.services.sites import MAX_SITES
from sites.tests.factories import SiteFactory, document, page

pytestmark = pytest.mark.django_db
SITE = {"name": "My site", "subdomain": "my-site"}


@pytest.fixture
def site(api):
    return SiteFactory(owner=api.user)


def test_create_answers_201_with_location_and_version(api):
    answer = api.post("sites", SITE)

    body = answer.json()
    assert (answer.status_code, answer["Location"], answer["ETag"]) == (
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
    assert api.get(answer["Location"]).json() == body


def test_create_from_a_template_takes_its_blueprint(api):
    pk = api.post("sites", {**SITE, "template": "bakery"}).json()["id"]

    blueprint = api.get(f"sites/{pk}/blueprint").json()

    assert (blueprint["settings"]["title"], len(blueprint["pages"])) == ("Marlow & Rye", 4)


def test_every_template_is_listed_and_can_be_published(api):
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
def test_create_refuses_subdomains_that_nobody_may_have(api, label):
    answer = api.post("sites", {"name": "x", "subdomain": label})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/subdomain")


def test_a_subdomain_is_had_once_also_when_its_site_is_hidden(api, other):
    first = api.post("sites", SITE).json()

    assert other.post("sites", SITE).json()["code"] == "subdomain_taken"
    api.delete(f"sites/{first['id']}", if_match=1)
    assert other.post("sites", SITE).status_code == 409


@pytest.mark.commits
def test_parallel_creation_of_one_subdomain_makes_one_site(api, other):
    def create(who):
        try:
            return who.post("sites", SITE).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(create, [api, other] * 4))

    assert statuses == [201, *[409] * 7]


@pytest.mark.commits
def test_the_limit_of_sites_holds_under_parallel_creation(api):
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


def test_change_needs_the_version_last_read(api, site):
    address = f"sites/{site.pk}"

    without = api.patch(address, {"name": "B"})
    stale = api.patch(address, {"name": "B"}, if_match=7)
    good = api.patch(address, {"name": "B", "subdomain": "moved"}, if_match=1)

    assert [answer.status_code for answer in (without, stale, good)] == [428, 412, 200]
    assert (good.json()["name"], good.json()["version"], good["ETag"]) == ("B", 2, '"2"')
    assert api.get(address).json() == good.json()


@pytest.mark.parametrize(
    "field", ["id", "owner", "status", "version", "live_release", "deleted_at", "template"]
)
def test_change_refuses_what_only_services_move(api, site, field):
    answer = api.patch(f"sites/{site.pk}", {field: "x"}, if_match=1)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "unknown_field")


@pytest.mark.commits
def test_twenty_parallel_changes_under_one_version_let_one_through(api, site):
    def change(number):
        try:
            return api.patch(f"sites/{site.pk}", {"name": f"Name {number}"}, if_match=1).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(change, range(20)))

    assert statuses == [200, *[412] * 19]


def test_delete_hides_everywhere_and_restore_brings_back_the_same(api, site):
    address = f"sites/{site.pk}"
    api.post(f"{address}/publish")
    before = api.get(address).json()

    assert api.delete(address, if_match=before["version"]).status_code == 204
    hidden = [
        api.get(address),
        api.get(f"{address}/blueprint"),
        api.get(f"{address}/releases"),
        api.post(f"{address}/publish"),
    ]
    assert [answer.status_code for answer in hidden] == [404] * 4
    assert api.get("sites").json()["results"] == []

    restored = api.post(f"{address}/restore")
    changing = {"version", "updated_at"}
    assert restored.status_code == 200
    assert {k: v for k, v in restored.json().items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    assert api.post(f"{address}/restore").json()["code"] == "not_deleted"


def test_publish_answers_201_with_the_release_and_freezes_it(api, site):
    address = f"sites/{site.pk}"
    answer = api.post(f"{address}/publish")
    assert (answer.status_code, answer.json()["number"], answer.json()["author"]) == (
        201,
        1,
        str(api.user.pk),
    )
    assert (api.get(address).json()["status"], api.get(address).json()["release"]) == ("live", 1)

    api.put(f"{address}/blueprint", document(page("/", title="Changed")), if_match=1)
    with tenancy.context(tenancy.SYSTEM):
        assert Release.objects.get(site=site).blueprint["pages"][0]["title"] == "Home"
    assert api.post(f"{address}/publish").json()["number"] == 2
    assert [item["number"] for item in api.get(f"{address}/releases").json()["results"]] == [2, 1]


def test_publish_refuses_an_empty_site_and_a_stale_draft(api, site):
    empty = api.post("sites", SITE).json()["id"]

    assert api.post(f"sites/{empty}/publish").json()["code"] == "site_empty"
    assert api.post(f"sites/{site.pk}/publish", if_match=9).status_code == 412
    assert api.get(f"sites/{site.pk}/releases").json()["results"] == []


def test_unpublish_takes_a_live_site_off_only(api, site):
    assert api.post(f"sites/{site.pk}/unpublish").json()["code"] == "not_published"
    api.post(f"sites/{site.pk}/publish")

    answer = api.post(f"sites/{site.pk}/unpublish").json()

    assert (answer["status"], answer["release"]) == ("draft", None)


@pytest.mark.commits
def test_parallel_saves_of_one_draft_lose_nothing(api, site):
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


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.commits
def test_site_list_costs_one_query_in_its_context(api, rows, django_assert_num_queries):
    SiteFactory.create_batch(rows, owner=api.user)
    api.get("config")  # the first request finds Redis empty and fills it

    with django_assert_num_queries(4):  # BEGIN, the context, the list, COMMIT
        assert len(api.get("sites").json()["results"]) == rows


def test_the_list_pages_without_gap_or_repeat_while_rows_come_and_go(api):
    sites = SiteFactory.create_batch(7, owner=api.user)
    newest_first = [str(site.pk) for site in reversed(sites)]

    first = api.get("sites?limit=3&count=true").json()
    SiteFactory(owner=api.user)
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()
    back = api.get(second["previous"]).json()

    seen = [item["id"] for body in (first, second, third) for item in body["results"]]
    assert (seen, first["count"], first["previous"], third["next"]) == (newest_first, 7, None, None)
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
def test_the_list_refuses_parameters_that_it_does_not_know(api, query):
    answer = api.get(f"sites?{query}")

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")


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
def test_a_broken_body_is_a_4xx_problem_and_changes_nothing(api, body, kind, status):
    headers = {"Authorization": f"Bearer {api.access}"}

    answer = api.client.generic("POST", "/api/v1/sites", body, content_type=kind, headers=headers)

    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.count() == 0


def test_routes_without_a_body_refuse_one(api, site):
    answer = api.post(f"sites/{site.pk}/publish", {"force": True})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/force")


def test_an_address_with_a_slash_answers_the_same(api, site):
    assert api.get(f"sites/{site.pk}/").content == api.get(f"sites/{site.pk}").content


def test_two_people_see_their_own_sites_only(api, other):
    mine = SiteFactory(owner=api.user)
    theirs = SiteFactory(owner=other.user)

    assert [item["id"] for item in api.get("sites").json()["results"]] == [str(mine.pk)]
    assert [item["id"] for item in other.get("sites").json()["results"]] == [str(theirs.pk)]


def test_closing_an_account_hides_its_sites_and_restoring_brings_back_only_those(api):
    from accounts.services.users import restore_user

    kept = SiteFactory(owner=api.user)
    gone = SiteFactory(owner=api.user)
    api.delete(f"sites/{gone.pk}", if_match=1)

    api.delete("auth/me", if_match=api.user.version)
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.alive().count() == 0
    restore_user(api.user.pk, actor=SYSTEM, now=timezone.now())

    api.user.refresh_from_db()
    again = sign_in(api.user)
    assert [item["id"] for item in again.get("sites").json()["results"]] == [str(kept.pk)]


def test_delete_needs_the_version_last_read(api, site):
    statuses = [
        api.delete(f"sites/{site.pk}", if_match=tag).status_code for tag in (None, 7, '"7", "8"', '"7", "1"')
    ]

    assert statuses == [428, 412, 412, 204]


def test_any_version_is_accepted_by_a_star(api, site):
    assert api.patch(f"sites/{site.pk}", {"name": "B"}, if_match="*").json()["name"] == "B"


def test_what_was_hidden_for_longer_than_its_time_is_deleted_and_nothing_else(api):
    now = timezone.now()
    long_ago = now - settings.SOFT_DELETE_FOR - timedelta(hours=1)
    lately = now - settings.SOFT_DELETE_FOR + timedelta(hours=1)
    alive, young, old = (SiteFactory(owner=api.user) for _ in range(3))
    left = UserFactory()
    leaving = UserFactory()
    theirs = SiteFactory(owner=left)
    with tenancy.context(tenancy.SYSTEM):
        publishing.publish_site(old, actor=SYSTEM, if_match=preconditions.IfMatch(None))
        Site.objects.filter(pk__in=[old.pk, theirs.pk]).update(deleted_at=long_ago)
        Site.objects.filter(pk=young.pk).update(deleted_at=lately)
    User.objects.filter(pk=left.pk).update(deleted_at=long_ago)
    User.objects.filter(pk=leaving.pk).update(deleted_at=lately)

    purge_deleted.apply().get()

    with tenancy.context(tenancy.SYSTEM):
        assert set(Site.objects.values_list("pk", flat=True)) == {alive.pk, young.pk}
        assert Release.objects.count() == 0
    assert set(User.objects.values_list("pk", flat=True)) == {api.user.pk, leaving.pk}
