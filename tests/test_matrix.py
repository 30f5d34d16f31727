"""Two people over every route of the OpenAPI document: what is one's is to the other as if it were not there."""

import uuid

import pytest

from accounts.tests.factories import UserFactory
from conftest import sign_in
from core import tenancy
from sites.models import Draft, Release, Site
from sites.tests.factories import SiteFactory, document
from tests.operations import ALL, OPERATIONS

pytestmark = pytest.mark.django_db(transaction=True)

BODIES = {
    ("post", "/api/v1/sites"): {"name": "x", "subdomain": "matrix-made"},
    ("patch", "/api/v1/sites/{id}"): {"name": "taken over"},
    ("put", "/api/v1/sites/{id}/blueprint"): document(),
    ("patch", "/api/v1/auth/me"): {"name": "taken over"},
}


OF_A_SITE = [(method, path) for method, path in OPERATIONS if "/sites/{" in path]


def state():
    """Everything of the victim that a request could have changed."""
    with tenancy.context(tenancy.SYSTEM):
        return [list(model.objects.order_by("pk").values()) for model in (Site, Draft, Release)]


def call(who, method, path, pk, body=None):
    options = {} if method == "get" else {"if_match": "*"}
    sent = body if body is not None else BODIES.get((method, path))
    return who.call(method.upper(), path.replace("{id}", str(pk)).replace("{pk}", str(pk)), sent, **options)


def test_the_document_lists_every_route_that_is_served():
    from accounts.urls import urlpatterns as accounts
    from audit.urls import urlpatterns as audit
    from sites.urls import urlpatterns as sites

    served = {f"/api/v1/{pattern.pattern}".replace("<uuid:pk>", "{id}") for pattern in [*audit, *accounts, *sites]}
    assert {path for _, path in OPERATIONS} == served


@pytest.mark.parametrize(("method", "path"), OF_A_SITE, ids=lambda part: part)
@pytest.mark.parametrize("hidden", [False, True])
def test_anothers_site_is_as_absent_as_a_random_one(method, path, hidden):
    victim, stranger = sign_in(UserFactory()), sign_in(UserFactory())
    site = SiteFactory(owner=victim.user)
    victim.post(f"sites/{site.pk}/publish")
    if hidden:
        victim.delete(f"sites/{site.pk}", if_match="*")
    victim.get(f"sites/{site.pk}")  # so that an answer is kept
    before = state()

    theirs, nobodys = call(stranger, method, path, site.pk), call(stranger, method, path, uuid.uuid4())

    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.content == nobodys.content
    assert state() == before


@pytest.mark.parametrize(("method", "path"), OF_A_SITE, ids=lambda part: part)
def test_the_owner_is_not_told_404(method, path):
    owner = sign_in(UserFactory())
    site = SiteFactory(owner=owner.user)
    if path.endswith("unpublish"):
        owner.post(f"sites/{site.pk}/publish")
    if path.endswith("restore"):
        owner.delete(f"sites/{site.pk}", if_match="*")

    answer = call(owner, method, path, site.pk)

    assert 200 <= answer.status_code < 300, answer.content


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_nobody_gets_in_where_the_document_says_that_one_must_sign_in(client, method, path):
    operation = next(found for m, p, found in ALL if (m, p) == (method, path))
    secured = bool(operation.get("security")) and {} not in operation["security"]
    address = path.replace("{id}", str(uuid.uuid4()))

    answer = client.generic(method.upper(), address, b"{}", content_type="application/json")

    assert (answer.status_code == 401 and answer.json()["code"] == "not_authenticated") == secured


def test_lists_and_own_account_show_nothing_of_another():
    victim, stranger = sign_in(UserFactory(name="Victim Name")), sign_in(UserFactory())
    site = SiteFactory(owner=victim.user, name="Secret project")

    for method, path in OPERATIONS:
        if method == "get":
            body = call(stranger, method, path, site.pk).content.decode()
            assert not any(secret in body for secret in ("Victim Name", "Secret project", victim.user.email)), path


def test_ids_of_another_in_bodies_and_queries_change_nothing():
    victim, stranger = sign_in(UserFactory()), sign_in(UserFactory())
    site = SiteFactory(owner=victim.user)
    before = state()

    tries = [
        stranger.post("sites", {"name": "x", "subdomain": "planted", "owner": str(victim.user.pk)}),
        stranger.post("sites", {"name": "x", "subdomain": "planted", "id": str(site.pk)}),
        stranger.get(f"sites?owner={victim.user.pk}"),
        stranger.get(f"sites?id={site.pk}"),
    ]

    assert [answer.status_code for answer in tries] == [400] * 4
    assert state() == before
