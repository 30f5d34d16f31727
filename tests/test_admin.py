"""The admin as staff use it: pages, query counts, actions that call services, and who may not use it."""

import re

import pytest
from django.contrib import admin
from django.test import Client

from accounts.models import Role, Session, User
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from conftest import PASSWORD, sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from sites.models import Draft, Revision, Site
from sites.services import drafts
from sites.tests.factories import SiteFactory, document
from tests.admin_client import post_admin_action, run_admin_action, user_form

pytestmark = pytest.mark.django_db
MAX_QUERIES_OF_LIST = 20
MAX_QUERIES_OF_ROW = 25
MAX_QUERIES_OF_DASHBOARD = 70  # the analytics dashboard of a site runs many reports


@pytest.fixture
def published_site():
    site = SiteFactory()
    sign_in(site.owner).post(f"sites/{site.pk}/publish")
    return site


def changelist_addresses():
    """The change list of every registered model, and a search on it where the model has search fields."""
    for model, model_admin in admin.site._registry.items():
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        yield base
        if model_admin.search_fields:
            yield f"{base}?q=x"


def test_admin_changelists_and_change_pages_stay_within_their_query_budget(
    staff_client, published_site, django_assert_max_num_queries
):
    change_pages = []
    for address in changelist_addresses():
        with django_assert_max_num_queries(MAX_QUERIES_OF_LIST):
            response = staff_client.get(address)
        assert response.status_code == 200, address
        link = re.compile(rf'href="({re.escape(address)}[0-9a-f-]{{36}}/change/)')
        change_pages += link.findall(response.content.decode())[:1]

    for address in change_pages:
        budget = MAX_QUERIES_OF_DASHBOARD if "/board/" in address else MAX_QUERIES_OF_ROW
        with django_assert_max_num_queries(budget):
            assert staff_client.get(address).status_code == 200, address
    assert len(change_pages) >= 4


@pytest.mark.parametrize("rows", [3, 30])
def test_admin_changelist_queries_do_not_grow_with_rows(staff_client, rows, django_assert_max_num_queries):
    SiteFactory.create_batch(rows)

    for address in ("/admin/sites/site/", "/admin/accounts/user/"):
        with django_assert_max_num_queries(16):
            assert staff_client.get(address).status_code == 200


def status_and_presence(site):
    """The status of a site, and whether it is not deleted."""
    with tenancy.context(tenancy.SYSTEM):
        site = Site.objects.get(pk=site.pk)
        return site.status, site.deleted_at is None


def test_site_admin_actions_call_the_services(staff_client):
    site = SiteFactory()

    assert "Published 1 sites" in run_admin_action(staff_client, "sites/site", "publish", site)
    assert status_and_presence(site) == ("live", True)
    assert "Unpublished 1 sites" in run_admin_action(staff_client, "sites/site", "unpublish", site)
    assert "not published" in run_admin_action(staff_client, "sites/site", "unpublish", site)
    assert "Deleted 1 sites" in run_admin_action(staff_client, "sites/site", "soft_delete", site)
    assert status_and_presence(site) == ("draft", False)
    assert "Restored 1 sites" in run_admin_action(staff_client, "sites/site", "restore", site)
    assert status_and_presence(site) == ("draft", True)


def test_user_admin_actions_take_effect_on_the_next_request(staff_client):
    person = sign_in(UserFactory())
    assert person.get("auth/me").status_code == 200

    assert "Signed out 1 users" in run_admin_action(staff_client, "accounts/user", "sign_out", person.user)
    assert person.get("auth/me").status_code == 401

    assert "Disabled 1 users" in run_admin_action(staff_client, "accounts/user", "disable", person.user)
    assert not User.objects.get(pk=person.user.pk).is_active


def test_user_admin_disable_refuses_the_last_administrator(staff_client):
    messages = run_admin_action(staff_client, "accounts/user", "disable", staff_client.user)

    assert "last administrator" in messages
    assert User.objects.get(pk=staff_client.user.pk).is_active


def test_session_admin_revoke_ends_the_session(staff_client):
    person = sign_in(UserFactory())
    person.get("auth/me")

    messages = run_admin_action(staff_client, "accounts/session", "revoke", person.session)

    assert "Revoked 1 sessions" in messages
    assert person.get("auth/me").status_code == 401
    assert Session.objects.get(pk=person.session.pk).revoked_at is not None


def test_user_admin_form_changes_roles_for_the_next_request(staff_client):
    person = sign_in(UserFactory())
    assert person.get("auth/me").status_code == 200
    form = user_form(name="Renamed", roles=[str(Role.objects.get(name="admin").pk)])

    response = staff_client.post(f"/admin/accounts/user/{person.user.pk}/change/", form)

    assert response.status_code == 302, response.content.decode()
    person.user.refresh_from_db()
    assert (person.user.name, [role.name for role in person.user.roles.all()]) == ("Renamed", ["admin"])
    assert person.get("auth/me").json()["code"] == "token_revoked"


def test_user_admin_form_refuses_to_remove_the_last_administrator(staff_client):
    response = staff_client.post(f"/admin/accounts/user/{staff_client.user.pk}/change/", user_form())

    assert "This is the last administrator" in response.content.decode()
    assert User.objects.get(pk=staff_client.user.pk).is_staff


def test_user_admin_actions_require_the_permission_to_write(password_hash):
    Role.objects.create(name="looker", permissions=["admin.access"])
    reader = UserFactory(email="looker@example.com", role="looker", password=password_hash)
    client = Client()
    response = client.post("/admin/login/", {"username": reader.email, "password": PASSWORD})
    assert response.status_code == 302
    victim = sign_in(UserFactory())

    for model, action, row in (
        ("user", "disable", victim.user),
        ("user", "soft_delete", victim.user),
        ("user", "sign_out", victim.user),
        ("session", "revoke", victim.session),
    ):
        post_admin_action(client, f"accounts/{model}", action, row)

    assert victim.get("auth/me").status_code == 200


def test_user_admin_action_refuses_an_id_that_is_not_a_uuid(staff_client):
    form = {"action": "disable", "_selected_action": ["not-a-uuid"]}

    response = staff_client.post("/admin/accounts/user/", form)

    assert response.status_code == 400


@pytest.mark.parametrize(
    "address",
    [
        "/admin/accounts/user/?password__startswith=argon2",
        "/admin/sites/site/?status__exact=%00",
        "/admin/sites/site/?created_at__year=99999999999",
    ],
)
def test_admin_filters_refuse_hidden_fields_and_impossible_values(staff_client, address):
    assert staff_client.get(address).status_code in {302, 400}


def test_admin_pages_refuse_an_access_token():
    api = sign_in(UserFactory(role="admin"))

    assert api.get("/admin/sites/site/").status_code == 302


def test_revision_admin_restore_as_draft_restores_an_old_draft(staff_client):
    site = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        changed = {**document(), "settings": {"title": "Later"}}
        drafts.save_draft(site, changed, actor=SYSTEM, if_match=ANY_VERSION)
        first_revision = Revision.objects.get(site=site, version=1)

    messages = run_admin_action(staff_client, "sites/revision", "restore_as_draft", first_revision)

    assert "Restored 1 revisions" in messages
    with tenancy.context(tenancy.SYSTEM):
        draft = Draft.objects.get(site=site)
    assert (draft.version, draft.blueprint["settings"]["title"]) == (3, "A site")
