"""Closing an account, opening it again within 30 days, and the purge that removes it afterwards."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.db.models import ProtectedError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.services import email_links, users
from accounts.tests.helpers import deliver_and_read_mails, post_auth, token_in_mail
from audit.actors import SYSTEM
from conftest import sign_in
from core import lifecycle, tenancy
from core.errors import NotFound
from core.http.preconditions import ANY_VERSION
from core.models import Mail
from core.tasks import purge_deleted
from sites.models import Site
from sites.services.sites import restore_site
from sites.tests.factories import SiteFactory
from tests.personal_data import close_account

pytestmark = pytest.mark.django_db


def delete_user(user):
    users.delete_user(user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)


def restore_user(user):
    users.restore_user(user.pk, actor=SYSTEM, now=timezone.now())


def test_restore_account_opens_a_closed_account_for_30_days(api):
    site = {"name": "S", "subdomain": "comes-back", "template": "bakery"}
    site_id = api.post("sites", site).json()["id"]
    token = close_account(api)
    with tenancy.context(tenancy.SYSTEM):
        assert not Site.objects.alive().filter(pk=site_id).exists()
    too_late = timezone.now() + timedelta(days=30, seconds=1)
    with pytest.raises(email_links.LinkRefused):
        email_links.restore_account(token, now=too_late)

    restored = post_auth(Client(), "restore", {"token": token})
    repeated = post_auth(Client(), "restore", {"token": token})

    assert (restored.status_code, repeated.status_code) == (204, 400)
    assert sign_in(User.objects.alive().get(pk=api.user.pk)).get(f"sites/{site_id}").status_code == 200


def test_restore_account_refuses_an_account_that_staff_deleted(api):
    token = close_account(api)
    restore_user(api.user)
    delete_user(api.user)

    assert post_auth(Client(), "restore", {"token": token}).status_code == 400


def test_restore_account_refuses_an_account_that_staff_disabled(api):
    token = close_account(api)
    users.set_active(api.user.pk, False, actor=SYSTEM, now=timezone.now())

    assert post_auth(Client(), "restore", {"token": token}).status_code == 400


def test_restore_account_refuses_a_token_of_another_purpose(api):
    post_auth(Client(), "password/forgot", {"email": api.user.email})
    token = token_in_mail(deliver_and_read_mails(api.user.email)[-1])
    close_account(api)

    assert post_auth(Client(), "restore", {"token": token}).status_code == 400


def test_close_account_mails_a_link_each_time(api):
    for _ in range(7):
        client = sign_in(User.objects.alive().get(pk=api.user.pk))
        assert client.delete("auth/me", if_match="*").status_code == 204
        restore_user(api.user)

    assert Mail.objects.filter(template="account_closed").count() == 7


@pytest.mark.commits
def test_delete_me_in_parallel_closes_the_account_once(api):
    def close(_):
        try:
            return api.delete("auth/me", if_match="*").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(close, range(8)))

    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 401, 404}


@pytest.mark.commits
def test_delete_me_leaves_no_site_that_is_created_at_the_same_time(api):
    def create_site_or_close(number):
        try:
            if number == 3:
                return api.delete("auth/me", if_match="*").status_code
            return api.post("sites", {"name": "x", "subdomain": f"race-{number}"}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create_site_or_close, range(8)))

    assert statuses[3] == 204
    assert set(statuses) <= {201, 204, 401, 404}
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.alive().count() == 0


def test_purge_deleted_continues_after_an_account_that_cannot_be_purged(api, other, monkeypatch):
    long_ago = timezone.now() - timedelta(days=40)
    User.objects.filter(pk__in=[api.user.pk, other.user.pk]).update(deleted_at=long_ago)

    def refuse_first_account(person, addresses):  # as an app does whose rows protect the account
        if person == api.user.pk:
            raise ProtectedError("referred to", set())
        return {}

    monkeypatch.setattr(lifecycle, "_erase_handlers", [*lifecycle._erase_handlers, refuse_first_account])
    purge_deleted.apply().get()

    assert list(User.objects.deleted().values_list("pk", flat=True)) == [api.user.pk]


def test_restore_site_refuses_a_site_of_a_closed_account(api):
    site = SiteFactory(owner=api.user)
    delete_user(api.user)

    with tenancy.context(tenancy.SYSTEM), pytest.raises(NotFound):
        restore_site(Site.objects.get(pk=site.pk), actor=SYSTEM)
