"""What accounts leave behind, and what they do not."""

import json

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.services import erasure, users
from accounts.tests.calls import link_token, mails_to, post
from audit.actors import SYSTEM
from audit.models import Personal
from conftest import PASSWORD
from core.http.preconditions import ANY_VERSION

pytestmark = pytest.mark.django_db


def everything():
    """Every row of every table as text."""
    rows = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t")
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)


def test_a_purged_person_leaves_no_address_anywhere(password_hash):
    address = "leaving-for-good@example.com"
    user = users.register_user(email=address, password=PASSWORD)
    for path in ("password/forgot", "email/resend"):
        post(Client(), path, {"email": address})
    post(Client(), "login", {"email": address, "password": "wrong password"})
    mails_to(address)
    assert address in everything()

    users.delete_user(user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    erasure.purge_users(timezone.now())

    assert not User.objects.get_queryset().filter(pk=user.pk).exists()
    assert address not in everything()


def test_a_password_typed_into_the_wrong_field_is_not_kept(member):
    post(Client(), "login", {"email": "my secret pass phrase", "password": "x"})

    assert not Personal.objects.filter(value="my secret pass phrase").exists()


def test_a_disabled_account_confirms_nothing(api):
    api.post("auth/email/change", {"email": "moved@example.com"})
    token = link_token(mails_to("moved@example.com")[0])
    users.set_active(api.user.pk, False, actor=SYSTEM, now=timezone.now())

    assert post(Client(), "email/verify", {"token": token}).json()["code"] == "link_refused"


def test_a_network_that_would_admit_nobody_is_refused(api):
    body = {"label": "x", "scopes": ["sites.read"], "networks": ["::ffff:203.0.113.0/120"]}

    assert api.post("api-keys", body).status_code == 400


def test_an_answer_kept_under_a_guessable_key_does_not_open_without_ours(api, settings):
    key = api.post("api-keys", {"label": "x", "scopes": ["sites.read"]}, Idempotency_Key="1").json()["key"]
    again = api.post("api-keys", {"label": "x", "scopes": ["sites.read"]}, Idempotency_Key="1")
    assert again.json()["key"] == key
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key with more than fifty characters, really"
    assert (
        api.post("api-keys", {"label": "x", "scopes": ["sites.read"]}, Idempotency_Key="1").json()["key"]
        == key
    )

    from core import encryption
    from core.http import idempotency
    from core.models import StoredAnswer

    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(encryption.Undecryptable):
        idempotency._decrypt_response(StoredAnswer.objects.get(), "1")
    assert json.dumps(key) not in everything()
