"""Erasure of a user, and values that must not be stored."""

import json

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.services import erasure, users
from accounts.tests.helpers import deliver_and_read_mails, post_auth, token_in_mail
from audit.actors import SYSTEM
from audit.models import Personal
from conftest import PASSWORD
from core.http.preconditions import ANY_VERSION

pytestmark = pytest.mark.django_db


def all_rows_as_text():
    """Return all rows of all tables as text."""
    rows = []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.oid::regclass::text
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND n.nspname = 'public'
            """
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t")
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)


def test_purge_users_leaves_no_address_in_any_table(password_hash):
    address = "leaving-for-good@example.com"
    user = users.register_user(email=address, password=PASSWORD)
    for path in ("password/forgot", "email/resend"):
        post_auth(Client(), path, {"email": address})
    post_auth(Client(), "login", {"email": address, "password": "wrong password"})
    deliver_and_read_mails(address)
    assert address in all_rows_as_text()

    users.delete_user(user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    erasure.purge_users(timezone.now())

    assert not User.objects.get_queryset().filter(pk=user.pk).exists()
    assert address not in all_rows_as_text()


def test_check_credentials_does_not_record_a_password_in_the_address_field(member):
    post_auth(Client(), "login", {"email": "my secret pass phrase", "password": "x"})

    assert not Personal.objects.filter(value="my secret pass phrase").exists()


def test_confirm_email_refuses_a_disabled_account(api):
    api.post("auth/email/change", {"email": "moved@example.com"})
    token = token_in_mail(deliver_and_read_mails("moved@example.com")[0])
    users.set_active(api.user.pk, False, actor=SYSTEM, now=timezone.now())

    assert post_auth(Client(), "email/verify", {"token": token}).json()["code"] == "link_refused"


def test_create_api_key_refuses_an_ipv4_mapped_network(api):
    body = {"label": "x", "scopes": ["sites.read"], "networks": ["::ffff:203.0.113.0/120"]}

    assert api.post("api-keys", body).status_code == 400


def test_create_api_key_stores_its_idempotent_response_encrypted(api, settings):
    key = api.post("api-keys", {"label": "x", "scopes": ["sites.read"]}, Idempotency_Key="1").json()["key"]
    repeated = api.post("api-keys", {"label": "x", "scopes": ["sites.read"]}, Idempotency_Key="1")
    assert repeated.json()["key"] == key
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key with more than fifty characters, really"
    assert (
        api.post("api-keys", {"label": "x", "scopes": ["sites.read"]}, Idempotency_Key="1").json()["key"]
        == key
    )

    from core import encryption
    from core.http import idempotency
    from core.models import IdempotentResponse

    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(encryption.Undecryptable):
        idempotency._decrypt_response(IdempotentResponse.objects.get(), "1")
    assert json.dumps(key) not in all_rows_as_text()
