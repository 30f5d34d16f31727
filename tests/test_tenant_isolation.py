"""Two people over every route of the OpenAPI document: what is one's is to the other as if it were not there."""

import re
import uuid

import pytest

from accounts.management.commands.permission_matrix import operations
from accounts.tests.factories import UserFactory
from conftest import sign_in
from core import tenancy
from sites.models import Draft, Release, Revision, Site
from sites.tests.factories import SiteFactory, document, page
from tests.operations import OPERATIONS, OPERATIONS_WITH_SCHEMAS, call_operation, prepare_operation
from tests.world import new_world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("issuer")]

OF_A_SITE = [(method, path) for method, path in OPERATIONS if "/sites/{id}" in path]


def state():
    """Everything of the victim that a request could have changed."""
    with tenancy.context(tenancy.SYSTEM):
        return [list(model.objects.order_by("pk").values()) for model in (Site, Draft, Release, Revision)]


def test_the_document_lists_every_route_that_is_served():
    assert set(OPERATIONS) == {(item.method.lower(), item.path) for item in operations()}


@pytest.mark.parametrize(("method", "path"), OF_A_SITE, ids=lambda part: part)
@pytest.mark.parametrize("hidden", [False, True])
def test_anothers_site_is_as_absent_as_a_random_one(method, path, hidden, password_hash):
    victim = new_world(password_hash, role="user")
    stranger = sign_in(UserFactory())
    address, body = prepare_operation(method, path, victim)
    if hidden:
        victim.api.delete(f"sites/{victim.site.pk}", if_match="*")
    victim.api.get(f"sites/{victim.site.pk}")  # so that an answer is kept
    before = state()

    theirs, nobodys = (
        stranger.call(method.upper(), address.replace(str(victim.site.pk), pk), body, if_match="*")
        for pk in (str(victim.site.pk), str(uuid.uuid4()))
    )

    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.content == nobodys.content
    assert state() == before


@pytest.mark.parametrize(
    ("method", "path"), [item for item in OF_A_SITE if "}/" in item[1] and item[1].count("{") > 1]
)
def test_what_belongs_to_another_site_of_ones_own_is_absent_too(method, path, password_hash):
    world = new_world(password_hash, role="user")
    second = SiteFactory(owner=world.api.user, blueprint=document(page("/other")))
    address, body = prepare_operation(method, path, world)

    answer = world.api.call(
        method.upper(), address.replace(str(world.site.pk), str(second.pk)), body, if_match="*"
    )

    assert answer.status_code == 404


@pytest.mark.parametrize(("method", "path"), OF_A_SITE, ids=lambda part: part)
def test_the_owner_is_not_told_404(method, path, password_hash):
    answer = call_operation(new_world(password_hash, role="user"), method, path)

    assert 200 <= answer.status_code < 300, answer.content


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_nobody_gets_in_where_the_document_says_that_one_must_sign_in(client, method, path):
    operation = next(found for m, p, found in OPERATIONS_WITH_SCHEMAS if (m, p) == (method, path))
    secured = bool(operation.get("security")) and {} not in operation["security"]
    address = re.sub(r"\{\w+\}", str(uuid.uuid4()), path)

    answer = client.generic(method.upper(), address, b"{}", content_type="application/json")

    assert (answer.status_code == 401 and answer.json()["code"] == "not_authenticated") == secured


def test_lists_and_own_account_show_nothing_of_another():
    victim = sign_in(UserFactory(name="Victim Name"))
    stranger = sign_in(UserFactory())
    site = SiteFactory(owner=victim.user, name="Secret project")

    for method, path in OPERATIONS:
        if method == "get":
            address = re.sub(r"\{\w+\}", str(site.pk), path)
            body = stranger.get(address).content.decode()
            assert not any(
                secret in body for secret in ("Victim Name", "Secret project", victim.user.email)
            ), path


def test_ids_of_another_in_bodies_and_queries_change_nothing():
    victim = sign_in(UserFactory())
    stranger = sign_in(UserFactory())
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
