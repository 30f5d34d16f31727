"""The admin pages of accounts and mails: what staff may see, change and hand out."""

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Role, User
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, subject_of_mail
from audit.models import Entry
from conftest import PASSWORD
from core.jobs import mail
from core.models import Mail
from tests.admin_client import post_admin_action, submit_login, user_form
from tests.world import new_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(password_hash):
    return new_world(password_hash)


def test_admin_actions_reset_factors_and_revoke_api_keys(world, password_hash):
    customer = new_world(password_hash, role="user")
    customer.add_totp()
    key = customer.create_api_key()
    client = Client()
    submit_login(client, world)

    client.post(
        "/admin/accounts/user/", {"action": "reset_factors", "_selected_action": [str(customer.api.user.pk)]}
    )
    client.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": [key["id"]]})

    assert customer.api.get("auth/mfa").json()["totp"] is False
    response = Client().get("/api/v1/sites", headers={"Authorization": f"Bearer {key['key']}"})
    assert response.status_code == 401
    staff_entries = Entry.objects.filter(actor_kind="staff", actor_id=world.api.user.pk)
    assert {"factors.reset", "api_key.revoked"} <= set(staff_entries.values_list("event", flat=True))


def test_user_admin_change_page_shows_factors_and_api_keys(world, password_hash):
    customer = new_world(password_hash, role="user")
    prefix = customer.create_api_key()["prefix"]
    client = Client()
    submit_login(client, world)

    page = client.get(f"/admin/accounts/user/{customer.api.user.pk}/change/").content.decode()

    assert "0 passkeys, 0 recovery codes left" in page
    assert prefix in page


def test_user_admin_gives_and_takes_only_rights_that_the_editor_has(world, password_hash):
    role = Role.objects.create(name="clerks", permissions=["admin.access", "admin.write"])
    clerk = UserFactory(password=password_hash)
    clerk.roles.set([role])
    client = Client()
    client.post("/admin/login/", {"username": clerk.email, "password": PASSWORD})
    admin_role = Role.objects.get(name="admin")
    victim = world.api.user
    form = user_form(roles=[str(role.pk), str(admin_role.pk)])

    assert client.post(f"/admin/accounts/user/{clerk.pk}/change/", form).status_code == 200, "no such choice"
    assert client.post(f"/admin/accounts/user/{victim.pk}/change/", form).status_code == 403
    for action in ("sign_out", "disable", "reset_factors", "soft_delete"):
        post_admin_action(client, "accounts/user", action, victim)

    assert [role.name for role in clerk.roles.all()] == ["clerks"]
    assert world.api.get("auth/me").status_code == 200
    assert User.objects.get(pk=victim.pk).is_active


@pytest.mark.parametrize("action", ["disable", "enable", "reset_factors", "soft_delete", "sign_out"])
def test_user_admin_actions_do_not_fail_on_a_deleted_account(world, action):
    client = Client()
    submit_login(client, world)
    deleted = UserFactory(deleted_at=timezone.now())

    response = post_admin_action(client, "accounts/user", action, deleted)

    assert response.status_code == 302
    assert client.post(f"/admin/accounts/user/{deleted.pk}/change/", {"name": "x"}).status_code == 403


def test_mail_admin_hides_the_content_of_mails_and_retries_them(world):
    row = mail.enqueue_mail(
        "reader@example.com", "new_device", device="SECRET-DEVICE", network="", time="now"
    )
    Mail.objects.update(status=Mail.Status.DEAD, attempts=16, error="ConnectionRefusedError")
    client = Client()
    submit_login(client, world)
    pages = [client.get(f"/admin/core/mail/{path}").content.decode() for path in ("", f"{row.pk}/change/")]

    client.post("/admin/core/mail/", {"action": "retry", "_selected_action": [str(row.pk)]})

    assert all("reader@example.com" in page and "SECRET-DEVICE" not in page for page in pages)
    assert [subject_of_mail(text) for text in deliver_and_read_mails("reader@example.com")] == [
        "New sign-in to your account"
    ]
