"""Two accounts over every route of the OpenAPI document: data of one account does not exist for the other."""

import re
import uuid

import pytest

from accounts.management.commands.permission_matrix import list_operations
from accounts.tests.factories import UserFactory
from conftest import sign_in
from core import tenancy
from sites.models import Draft, Release, Revision, Site
from sites.tests.factories import SiteFactory, document, page
from tests.operations import BROWSER_HEADERS, OPERATIONS, OPERATIONS_WITH_SCHEMAS, prepare_operation
from tests.world import new_world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("issuer")]

SITE_OPERATIONS = [(method, path) for method, path in OPERATIONS if "/sites/{id}" in path]
NESTED_SITE_OPERATIONS = [
    (method, path) for method, path in SITE_OPERATIONS if "}/" in path and path.count("{") > 1
]


def site_rows():
    """Every row of sites that a request could have changed."""
    with tenancy.context(tenancy.SYSTEM):
        return [list(model.objects.order_by("pk").values()) for model in (Site, Draft, Release, Revision)]


def with_random_ids(path):
    return re.sub(r"\{\w+\}", str(uuid.uuid4()), path)


def test_openapi_document_lists_every_route():
    assert set(OPERATIONS) == {(item.method.lower(), item.path) for item in list_operations()}


@pytest.mark.parametrize(("method", "path"), SITE_OPERATIONS, ids=lambda part: part)
@pytest.mark.parametrize("deleted", [False, True])
def test_site_routes_succeed_for_the_owner_and_answer_the_same_404_for_a_foreign_and_a_missing_site(
    method, path, deleted, password_hash
):
    victim = new_world(password_hash, role="user")
    stranger = sign_in(UserFactory())
    address, body = prepare_operation(method, path, victim)
    if deleted:
        victim.api.delete(f"sites/{victim.site.pk}", if_match="*")
    victim.api.get(f"sites/{victim.site.pk}")  # so that a response is in the cache
    before = site_rows()

    site_id = str(victim.site.pk)
    foreign = stranger.call(method.upper(), address, body, if_match="*")
    missing_address = address.replace(site_id, str(uuid.uuid4()))
    missing = stranger.call(method.upper(), missing_address, body, if_match="*")

    assert (foreign.status_code, missing.status_code) == (404, 404)
    assert foreign.content == missing.content
    assert site_rows() == before
    if not deleted:
        if_match = None if method == "get" else "*"
        response = victim.api.call(method.upper(), address, body, if_match=if_match, **BROWSER_HEADERS)
        assert 200 <= response.status_code < 300, response.content


@pytest.mark.parametrize(("method", "path"), NESTED_SITE_OPERATIONS)
def test_site_routes_answer_404_for_a_row_of_another_own_site(method, path, password_hash):
    world = new_world(password_hash, role="user")
    second_site = SiteFactory(owner=world.api.user, blueprint=document(page("/other")))
    address, body = prepare_operation(method, path, world)

    wrong_address = address.replace(str(world.site.pk), str(second_site.pk))
    response = world.api.call(method.upper(), wrong_address, body, if_match="*")

    assert response.status_code == 404


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_routes_require_authentication_where_the_openapi_document_says_so(client, method, path):
    schemas = {(method, path): schema for method, path, schema in OPERATIONS_WITH_SCHEMAS}
    security = schemas[method, path].get("security")
    is_secured = bool(security) and {} not in security

    response = client.generic(method.upper(), with_random_ids(path), b"{}", content_type="application/json")

    is_refused = response.status_code == 401 and response.json()["code"] == "not_authenticated"
    assert is_refused == is_secured


def test_get_routes_show_no_data_of_another_account():
    victim = sign_in(UserFactory(name="Victim Name"))
    stranger = sign_in(UserFactory())
    site = SiteFactory(owner=victim.user, name="Secret project")
    personal_data = ("Victim Name", "Secret project", victim.user.email)

    for method, path in OPERATIONS:
        if method == "get":
            body = stranger.get(re.sub(r"\{\w+\}", str(site.pk), path)).content.decode()
            assert not any(text in body for text in personal_data), path


def test_sites_routes_refuse_foreign_ids_in_body_and_query():
    victim = sign_in(UserFactory())
    stranger = sign_in(UserFactory())
    site = SiteFactory(owner=victim.user)
    before = site_rows()

    responses = [
        stranger.post("sites", {"name": "x", "subdomain": "planted", "owner": str(victim.user.pk)}),
        stranger.post("sites", {"name": "x", "subdomain": "planted", "id": str(site.pk)}),
        stranger.get(f"sites?owner={victim.user.pk}"),
        stranger.get(f"sites?id={site.pk}"),
    ]

    assert [response.status_code for response in responses] == [400] * 4
    assert site_rows() == before
