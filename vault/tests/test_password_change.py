"""Tests of password changes of accounts that have vaults."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import EmailProof, Kdf, Session, User
from accounts.services import email_links
from accounts.services.email_links import make_token
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import auth_hash, post_auth, zero_knowledge_fields
from audit.models import Entry
from conftest import PASSWORD, sign_in
from core import tenancy
from core.models import IdempotentResponse
from vault import services
from vault.models import Holder, Item, Vault
from vault.tests.api_helpers import create_item, create_vault, new_uuid, random_envelope

pytestmark = pytest.mark.django_db
SALT = b"sixteen bytes ok"
NEW_SALT = b"another sixteen."
NEW_PASSWORD = "an entirely new phrase"


@pytest.fixture
def blind_account(db):
    """The API of a blind account with two vaults, and the ids of both; the second is in the trash."""
    user = UserFactory(password=make_password(auth_hash(PASSWORD, SALT)), email_verified_at=timezone.now())
    user.kdf = Kdf(600_000, SALT)
    user.save()
    api = sign_in(user)
    vault = create_vault(api)
    trashed = create_vault(api)
    create_item(api, vault)
    assert api.delete(f"vault/{trashed}", if_match=1).status_code == 204
    return api, vault, trashed


def change_password(api, vaults, *, path="auth/password/vaults", **fields):
    """Request a password change with re-encrypted vaults, or without the field when `vaults` is None."""
    body = {
        "current_auth_hash": auth_hash(PASSWORD, SALT),
        **zero_knowledge_fields(NEW_PASSWORD, salt=NEW_SALT),
        **fields,
    }
    return api.post(path, body if vaults is None else {**body, "vaults": vaults})


def random_records(*vaults, version=2):
    return [{"vault_id": vault_id, **random_envelope(version)} for vault_id in vaults]


def stored_vaults():
    """Return version and whether it is outside the trash, by vault id."""
    with tenancy.context(tenancy.SYSTEM):
        return {
            str(vault.vault_id): (vault.version, vault.deleted_at is None) for vault in Vault.objects.all()
        }


def run_and_close_connections(call):
    try:
        return call()
    finally:
        connections.close_all()


def test_reencrypt_or_delete_vaults_stores_all_records_with_the_new_password(blind_account):
    api, vault, trashed = blind_account

    response = change_password(api, random_records(vault, trashed))

    assert response.status_code == 200, response.content
    assert stored_vaults() == {vault: (2, True), trashed: (2, False)}
    assert api.get("auth/me").json()["code"] == "token_revoked"
    credentials = {"email": api.user.email, "auth_hash": auth_hash(NEW_PASSWORD, NEW_SALT)}
    assert post_auth(Client(), "login", credentials).status_code == 200
    assert Entry.objects.filter(event="vault.changed", owner_id=api.user.pk).count() == 2
    with tenancy.context(tenancy.SYSTEM):
        size = sum(len(row.ciphertext) for row in [*Vault.objects.all(), *Item.objects.all()])
        assert Holder.objects.get(owner=api.user).size == size


def test_reencrypt_or_delete_vaults_refuses_missing_unknown_and_stale_records(blind_account):
    api, vault, trashed = blind_account
    differing = [
        random_records(vault),
        random_records(trashed),
        random_records(vault, trashed, new_uuid()),
        [*random_records(vault), *random_records(trashed, version=3)],
        [*random_records(vault), *random_records(trashed, version=1)],
    ]

    codes = [change_password(api, records).json()["code"] for records in differing]
    without_records = change_password(api, None, path="auth/password/change")

    assert codes == ["vaults_differ"] * 5
    assert without_records.json()["code"] == "vaults_sealed"
    assert stored_vaults() == {vault: (1, True), trashed: (1, False)}
    assert User.objects.get(pk=api.user.pk).kdf.salt == SALT
    assert api.get("auth/me").status_code == 200


def test_password_view_set_refuses_repeated_and_large_records_and_a_wrong_password(blind_account):
    api, vault, trashed = blind_account

    repeated = change_password(api, random_records(vault, vault, trashed))
    large = change_password(api, [{"vault_id": vault, **random_envelope(2, size=16 * 1024 + 1)}])
    wrong_password = change_password(
        api, random_records(vault, trashed), current_auth_hash=auth_hash("wrong", SALT)
    )

    assert repeated.json()["errors"][0]["pointer"] == "/vaults"
    assert large.status_code == 400
    assert wrong_password.json()["code"] == "invalid_credentials"
    assert stored_vaults() == {vault: (1, True), trashed: (1, False)}


def test_reencrypt_or_delete_vaults_needs_no_records_without_vaults(blind_account):
    api, *_ = blind_account
    with tenancy.context(tenancy.SYSTEM):
        Vault.objects.all().delete()

    assert change_password(api, None, path="auth/password/change").status_code == 200


def test_new_password_serializer_refuses_an_account_that_is_not_blind(api):
    body = {"current_password": PASSWORD, "password": NEW_PASSWORD, "vaults": []}

    assert api.post("auth/password/vaults", body).json()["errors"][0]["pointer"] == "/scheme"


def test_reencrypt_or_delete_vaults_deletes_vaults_and_usage_after_a_lost_password(blind_account):
    api, *_ = blind_account
    email_links.request_password_reset(api.user.email, now=timezone.now())
    email_links.mail_requested_links(now=timezone.now())
    body = {
        "token": make_token(EmailProof.objects.latest("id")),
        **zero_knowledge_fields(NEW_PASSWORD, salt=NEW_SALT),
    }

    refused = post_auth(Client(), "password/reset", body)
    vaults_after_refusal = stored_vaults()
    accepted = post_auth(Client(), "password/reset", {**body, "accept_vault_loss": True})

    assert (refused.json()["code"], len(vaults_after_refusal)) == ("vault_loss_unconfirmed", 2)
    assert accepted.status_code == 204, accepted.content
    assert stored_vaults() == {}
    with tenancy.context(tenancy.SYSTEM):
        holder = Holder.objects.get(owner=api.user)
    assert (holder.size, holder.items) == (0, 0)
    assert Entry.objects.filter(event="vault.lost", owner_id=api.user.pk).count() == 2
    assert create_vault(sign_in(User.objects.get(pk=api.user.pk)))


@pytest.mark.commits
def test_create_vault_refuses_a_session_that_ended_while_it_waited(blind_account):
    """Encrypted with the old account key, the vault could never be opened, and it would block passwords."""
    api, vault, trashed = blind_account
    body = {"vault_id": new_uuid(), **random_envelope()}

    with ThreadPoolExecutor(1) as pool, transaction.atomic(), tenancy.context(tenancy.SYSTEM):
        Holder.objects.select_for_update().get(owner=api.user)
        waiting = pool.submit(run_and_close_connections, lambda: api.post("vault", body))
        time.sleep(0.5)
        Session.objects.filter(pk=api.session.pk).update(revoked_at=timezone.now())

    assert waiting.result().json()["code"] == "token_revoked"
    assert set(stored_vaults()) == {vault, trashed}


@pytest.mark.commits
def test_rotate_vault_key_and_a_password_change_do_not_deadlock(blind_account):
    api, vault, trashed = blind_account
    (item,) = api.get(f"vault/{vault}/items").json()["results"]
    body = {**random_envelope(2), "items": [{"item_id": item["item_id"], **random_envelope(2)}]}
    sign_in(api.user)  # the rotation ends this session
    original = services.close_other_sessions
    rotation_holds_locks = threading.Event()

    def close_slowly(*args, **kwargs):
        rotation_holds_locks.set()
        time.sleep(0.5)
        return original(*args, **kwargs)

    with mock.patch.object(services, "close_other_sessions", close_slowly), ThreadPoolExecutor(2) as pool:
        rotation = pool.submit(
            run_and_close_connections, lambda: api.post(f"vault/{vault}/rotate", body, if_match=1)
        )
        rotation_holds_locks.wait(10)
        change = pool.submit(
            run_and_close_connections, lambda: change_password(api, random_records(vault, trashed))
        )
        statuses = {rotation.result().status_code, change.result().status_code}

    assert statuses in ({200, 409}, {200, 401})


def test_password_view_set_records_wrong_passwords(blind_account):
    api, vault, trashed = blind_account

    response = change_password(
        api, random_records(vault, trashed), current_auth_hash=auth_hash("wrong", SALT)
    )

    assert response.status_code == 401
    assert Entry.objects.filter(event="sign_in.failed", owner_id=api.user.pk).exists()


def test_password_view_set_stores_no_answer_for_an_idempotency_key(blind_account):
    api, vault, trashed = blind_account
    body = {
        "current_auth_hash": auth_hash(PASSWORD, SALT),
        **zero_knowledge_fields(NEW_PASSWORD, salt=NEW_SALT),
        "vaults": random_records(vault, trashed),
    }

    response = api.post("auth/password/vaults", body, Idempotency_Key="once")

    assert response.status_code == 200
    assert IdempotentResponse.objects.count() == 0


@pytest.mark.parametrize("count", [90, 30_000])
def test_password_view_set_answers_invalid_bodies_with_a_small_problem(blind_account, count):
    api, *_ = blind_account

    response = change_password(api, [{}] * count)

    assert response.status_code == 400
    assert len(response.content) < 1_000
