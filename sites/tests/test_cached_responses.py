"""Cached responses of the API of sites: what is cached, for whom, and when it becomes stale."""

from uuid import uuid4

import pytest

from accounts.models import Role
from accounts.services import roles
from audit.actors import SYSTEM
from core import tenancy
from core.admission import cached_responses
from core.http.preconditions import ANY_VERSION
from core.storage import redis
from sites.models import Post
from sites.services import personal_data
from sites.tests.factories import SiteFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("either_path")]
SITE = {"name": "My site", "subdomain": "my-site"}


@pytest.fixture
def site(api):
    return SiteFactory(owner=api.user)


CHANGES = {
    "renamed": ([], lambda api, site: api.patch(f"sites/{site.pk}", {"name": "Fresh"}, if_match="*")),
    "published": ([], lambda api, site: api.post(f"sites/{site.pk}/publish")),
    "unpublished": (["publish"], lambda api, site: api.post(f"sites/{site.pk}/unpublish")),
    "deleted": ([], lambda api, site: api.delete(f"sites/{site.pk}", if_match="*")),
    "restored": (["delete"], lambda api, site: api.post(f"sites/{site.pk}/restore")),
    "another site created": ([], lambda api, site: api.post("sites", SITE)),
}


def test_retrieve_site_is_cached_until_the_site_changes(api, site, django_assert_num_queries):
    address = f"sites/{site.pk}"
    api.get("config")  # the first request fills the empty Redis
    cold = api.get(address)

    with django_assert_num_queries(0):
        warm = api.get(address)
        not_modified = api.get(address, If_None_Match=warm["ETag"])

    assert (warm.content, warm["ETag"], warm["Content-Type"]) == (
        cold.content,
        cold["ETag"],
        cold["Content-Type"],
    )
    assert (not_modified.status_code, not_modified.content) == (304, b"")
    api.patch(address, {"name": "Fresh"}, if_match=1)
    assert api.get(address).json()["name"] == "Fresh"


def test_cached_responses_are_separate_for_each_user(api, other, site, django_assert_num_queries):
    api.get("config")  # the first request fills the empty Redis
    for path in (f"sites/{site.pk}", "sites"):
        assert api.get(path).status_code == 200
        with django_assert_num_queries(0):
            assert api.get(path).status_code == 200

    assert other.get(f"sites/{site.pk}").status_code == 404
    assert other.get("sites").json()["results"] == []


@pytest.mark.parametrize("change_name", CHANGES)
def test_invalidate_site_responses_follows_every_change_of_a_site(api, site, change_name):
    preparation, change = CHANGES[change_name]
    for step in preparation:
        response = (
            api.post(f"sites/{site.pk}/publish")
            if step == "publish"
            else api.delete(f"sites/{site.pk}", if_match="*")
        )
        assert response.status_code in {201, 204}

    def read_site_and_list():
        return [
            (response.status_code, response.content)
            for response in (api.get(f"sites/{site.pk}"), api.get("sites"))
        ]

    read_site_and_list()
    cached = read_site_and_list()
    assert change(api, site).status_code in {200, 201, 204}
    after_change = read_site_and_list()
    redis.client().flushdb()  # drops every cached response

    assert after_change == read_site_and_list()
    assert after_change[1] != cached[1]


def test_cached_responses_do_not_include_errors(api):
    address = f"sites/{uuid4()}"
    api.get("config")  # the first request fills the empty Redis

    responses = [api.get(address) for _ in range(2)]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (404, "not_found")
    ] * 2


def test_cached_responses_keep_their_headers(api, site):
    api.get("config")  # the first request fills the empty Redis
    names = ("RateLimit-Limit", "Cache-Control", "ETag", "Content-Type")

    cold, warm = (api.get(f"sites/{site.pk}") for _ in range(2))

    assert [warm.get(name) for name in names] == [cold[name] for name in names]
    assert int(warm["RateLimit-Remaining"]) <= int(cold["RateLimit-Remaining"])


def test_list_sites_response_is_private(api, site):
    assert api.get("sites")["Cache-Control"] == "private, no-cache"


def test_cached_responses_follow_the_name_of_a_role_and_the_erasure_of_an_author(api, other, site):
    role = Role.objects.create(name="Former", permissions=[])
    other.user.roles.add(role)
    with tenancy.context(tenancy.SYSTEM):
        post = Post.objects.create(site=site, author=other.user, title="A post", slug="a-post")
    api.get("config")  # the first request fills the empty Redis
    for client, path in ((other, "auth/me"), (api, f"sites/{site.pk}/posts/{post.pk}")):
        assert client.get(path).status_code == client.get(path).status_code == 200

    roles.change_role(
        role.pk,
        name="Latter",
        permissions=[],
        actor=SYSTEM,
        allowed_permissions=frozenset(),
        if_match=ANY_VERSION,
    )
    assert "Latter" in other.get("auth/me").json()["roles"]

    with tenancy.context(tenancy.SYSTEM):
        personal_data.erase_person(other.user.pk, frozenset())
        Post.objects.filter(pk=post.pk).update(author=None)
    assert api.get(f"sites/{site.pk}/posts/{post.pk}").json()["author"] is None


def test_invalidate_after_commit_without_tags_asks_redis_nothing(redis_round_trips):
    cached_responses.invalidate_after_commit()

    assert (redis_round_trips, redis.is_breaker_open()) == ([], False)
