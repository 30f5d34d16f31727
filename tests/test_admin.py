"""The admin as staff use it: every page opens, buttons call the services, strangers stay out."""

import re

import pytest
from django.contrib import admin
from django.test import Client

from accounts.models import Session, User
from accounts.tests.calls import calm_address
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from conftest import PASSWORD, sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from sites.models import Draft, Revision, Site
from sites.services import drafts
from sites.tests.factories import SiteFactory, document

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(password_hash):
    """A browser signed in to the admin through its form."""
    user = UserFactory(email="staff@example.com", role="admin", password=password_hash)
    client = Client()
    client.user = user
    answer = client.post("/admin/login/?next=/admin/", {"username": user.email, "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    return client


@pytest.fixture
def records():
    site = SiteFactory()
    api = sign_in(site.owner)
    api.post(f"sites/{site.pk}/publish")
    return site


def addresses():
    for model, window in admin.site._registry.items():
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        yield base
        for field in window.search_fields[:1]:
            assert field
            yield f"{base}?q=x"


def test_every_page_opens_within_its_queries(staff, records, django_assert_max_num_queries):
    opened = []
    for address in addresses():
        with django_assert_max_num_queries(20):
            answer = staff.get(address)
        assert answer.status_code == 200, address
        opened += re.findall(
            rf'href="({re.escape(address)}[0-9a-f-]{{36}}/change/)', answer.content.decode()
        )[:1]
    for address in opened:
        with django_assert_max_num_queries(
            70 if "/board/" in address else 25
        ):  # a dashboard is many questions
            assert staff.get(address).status_code == 200, address
    assert len(opened) >= 4


@pytest.mark.parametrize("rows", [3, 30])
def test_lists_cost_the_same_for_many_rows(staff, rows, django_assert_max_num_queries):
    SiteFactory.create_batch(rows)

    for address in ("/admin/sites/site/", "/admin/accounts/user/"):
        with django_assert_max_num_queries(16):
            assert staff.get(address).status_code == 200


def press(client, model, button, *rows):
    answer = client.post(
        f"/admin/{model}/", {"action": button, "_selected_action": [str(row.pk) for row in rows]}, follow=True
    )
    assert answer.status_code == 200
    return " ".join(
        re.findall(r'<li class="(?:success|error|info)">(.*?)</li>', answer.content.decode(), re.DOTALL)
    )


def status(site):
    with tenancy.context(tenancy.SYSTEM):
        site = Site.objects.get(pk=site.pk)
        return site.status, site.deleted_at is None


def test_site_buttons_call_the_services(staff):
    site = SiteFactory()

    assert "Published 1 sites" in press(staff, "sites/site", "publish", site)
    assert status(site) == ("live", True)
    assert "Unpublished 1 sites" in press(staff, "sites/site", "unpublish", site)
    assert "not published" in press(staff, "sites/site", "unpublish", site)
    assert "Deleted 1 sites" in press(staff, "sites/site", "soft_delete", site)
    assert status(site) == ("draft", False)
    assert "Restored 1 sites" in press(staff, "sites/site", "restore", site)
    assert status(site) == ("draft", True)


def test_user_buttons_act_at_once(staff):
    person = sign_in(UserFactory())
    assert person.get("auth/me").status_code == 200

    assert "Signed out 1 users" in press(staff, "accounts/user", "sign_out", person.user)
    assert person.get("auth/me").status_code == 401

    assert "Disabled 1 users" in press(staff, "accounts/user", "disable", person.user)
    assert not User.objects.get(pk=person.user.pk).is_active
    assert "last administrator" in press(staff, "accounts/user", "disable", staff.user)
    assert User.objects.get(pk=staff.user.pk).is_active


def test_session_button_revokes(staff):
    person = sign_in(UserFactory())
    person.get("auth/me")

    assert "Revoked 1 sessions" in press(staff, "accounts/session", "revoke", person.session)

    assert person.get("auth/me").status_code == 401
    assert Session.objects.get(pk=person.session.pk).revoked_at is not None


def test_roles_changed_in_the_form_act_on_the_next_request(staff):
    from accounts.models import Role

    person = sign_in(UserFactory())
    assert person.get("auth/me").status_code == 200
    form = {
        "name": "Renamed",
        "age": "",
        "is_active": "on",
        "roles": [str(Role.objects.get(name="admin").pk)],
    }
    form |= {
        f"{part}-{name}_FORMS": 0
        for part in ("sessions", "api_keys", "identities")
        for name in ("TOTAL", "INITIAL")
    }

    answer = staff.post(f"/admin/accounts/user/{person.user.pk}/change/", form)

    assert answer.status_code == 302, answer.content.decode()
    person.user.refresh_from_db()
    assert (person.user.name, [role.name for role in person.user.roles.all()]) == ("Renamed", ["admin"])
    assert person.get("auth/me").json()["code"] == "token_revoked"


def test_the_form_keeps_the_last_administrator(staff):
    form = {"name": "x", "age": "", "is_active": "on"}
    form |= {
        f"{part}-{name}_FORMS": 0
        for part in ("sessions", "api_keys", "identities")
        for name in ("TOTAL", "INITIAL")
    }

    answer = staff.post(f"/admin/accounts/user/{staff.user.pk}/change/", form)

    assert "This is the last administrator" in answer.content.decode()
    assert User.objects.get(pk=staff.user.pk).is_staff


def test_an_ordinary_user_does_not_get_in(password_hash):
    user = UserFactory(password=password_hash)
    client = Client()

    answer = client.post("/admin/login/", {"username": user.email, "password": PASSWORD})

    assert answer.status_code == 200
    assert "staff account" in answer.content.decode()
    assert client.get("/admin/sites/site/").status_code == 302


def test_tries_at_the_sign_in_form_are_limited(settings):
    settings.ADMIN_LOGIN_ATTEMPTS = 3
    client = Client(REMOTE_ADDR=calm_address())

    statuses = [
        client.post("/admin/login/", {"username": f"u{n}@example.com", "password": "x"}).status_code
        for n in range(5)
    ]

    assert statuses == [200, 200, 200, 429, 429]
    assert Client(REMOTE_ADDR="203.0.113.21").get("/admin/login/").status_code == 200


def test_forms_need_their_token(records):
    client = Client(enforce_csrf_checks=True)

    answer = client.post("/admin/login/", {"username": "a@example.com", "password": "x"})

    assert answer.status_code == 403


def test_an_access_token_opens_no_admin_page():
    admin_api = sign_in(UserFactory(role="admin"))

    assert admin_api.get("/admin/sites/site/").status_code == 302


def test_an_old_draft_is_brought_back_by_a_button(staff):
    site = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        drafts.save_draft(
            site, {**document(), "settings": {"title": "Later"}}, actor=SYSTEM, if_match=ANY_VERSION
        )
        first = Revision.objects.get(site=site, version=1)

    assert "Restored 1 revisions" in press(staff, "sites/revision", "restore_as_draft", first)

    with tenancy.context(tenancy.SYSTEM):
        draft = Draft.objects.get(site=site)
    assert (draft.version, draft.blueprint["settings"]["title"]) == (3, "A site")
