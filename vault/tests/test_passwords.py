"""A new password never shuts a vault: its records come sealed anew with it, or nothing happens, or its loss
was accepted.
"""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import EmailProof, Kdf, Session, User
from accounts.services import email_links
from accounts.services.email_links import token_of
from accounts.tests.calls import auth_hash, blind, post
from accounts.tests.factories import UserFactory
from audit.models import Entry
from conftest import PASSWORD, sign_in
from core import lifecycle, tenancy
from core.models import StoredAnswer
from vault import client as reference
from vault import services
from vault.models import Holder, Item, Vault
from vault.tests.calls import item_of, new_id, sealed, vault_of

pytestmark = pytest.mark.django_db
SALT = b"sixteen bytes ok"
NEW_SALT = b"another sixteen."
NEW = "an entirely new phrase"


@pytest.fixture
def person(db):
    """Somebody blind with two vaults, one of them in the trash; their ids."""
    user = UserFactory(password=make_password(auth_hash(PASSWORD, SALT)), email_verified_at=timezone.now())
    user.kdf = Kdf(600_000, SALT)
    user.save()
    api = sign_in(user)
    kept = vault_of(api)
    trashed = vault_of(api)
    item_of(api, kept)
    assert api.delete(f"vault/{trashed}", if_match=1).status_code == 204
    return api, kept, trashed


def change(api, vaults, *, path="auth/password/vaults", **body):
    body = {"current_auth_hash": auth_hash(PASSWORD, SALT), **blind(NEW, salt=NEW_SALT), **body}
    return api.post(path, body if vaults is None else {**body, "vaults": vaults})


def records(*vaults, version=2):
    return [{"vault_id": pk, **sealed(version)} for pk in vaults]


def state():
    with tenancy.context(tenancy.SYSTEM):
        return {
            str(vault.vault_id): (vault.version, vault.deleted_at is None) for vault in Vault.objects.all()
        }


def test_all_records_come_with_the_new_password(person):
    api, kept, trashed = person

    done = change(api, records(kept, trashed))

    assert done.status_code == 200, done.content
    assert state() == {kept: (2, True), trashed: (2, False)}
    assert api.get("auth/me").json()["code"] == "token_revoked"
    again = {"email": api.user.email, "auth_hash": auth_hash(NEW, NEW_SALT)}
    assert post(Client(), "login", again).status_code == 200
    assert Entry.objects.filter(event="vault.changed", owner_id=api.user.pk).count() == 2
    with tenancy.context(tenancy.SYSTEM):
        size = sum(len(row.ciphertext) for row in [*Vault.objects.all(), *Item.objects.all()])
        assert Holder.objects.get(owner=api.user).size == size


def test_a_record_too_few_too_many_stale_or_twice_changes_nothing(person):
    api, kept, trashed = person
    wrong = [
        records(kept),
        records(trashed),
        records(kept, trashed, new_id()),
        [*records(kept), *records(trashed, version=3)],
        [*records(kept), *records(trashed, version=1)],
    ]

    assert [change(api, each).json()["code"] for each in wrong] == ["vaults_differ"] * 5
    assert change(api, records(kept, kept, trashed)).json()["errors"][0]["pointer"] == "/vaults"
    assert change(api, [{"vault_id": kept, **sealed(2, size=16 * 1024 + 1)}]).status_code == 400
    wrong_password = change(api, records(kept, trashed), current_auth_hash=auth_hash("wrong", SALT))
    assert wrong_password.json()["code"] == "invalid_credentials"
    assert change(api, None, path="auth/password/change").json()["code"] == "vaults_sealed"
    assert state() == {kept: (1, True), trashed: (1, False)}
    assert User.objects.get(pk=api.user.pk).kdf.salt == SALT
    assert api.get("auth/me").status_code == 200


def test_without_vaults_either_way_of_changing_works(person):
    api, *_ = person
    with tenancy.context(tenancy.SYSTEM):
        Vault.objects.all().delete()

    assert change(api, None, path="auth/password/change").status_code == 200


def test_an_account_whose_password_the_server_sees_has_no_records_to_seal(api):
    body = {"current_password": PASSWORD, "password": NEW, "vaults": []}

    assert api.post("auth/password/vaults", body).json()["errors"][0]["pointer"] == "/scheme"


def test_a_reset_gives_up_what_nobody_can_open_and_its_quota(person):
    api, *_ = person
    email_links.request_reset(api.user.email, now=timezone.now())
    email_links.mail_proofs(now=timezone.now())
    token = token_of(EmailProof.objects.latest("id"))
    refused = post(Client(), "password/reset", {"token": token, **blind(NEW, salt=NEW_SALT)})
    before = state()

    done = post(
        Client(), "password/reset", {"token": token, **blind(NEW, salt=NEW_SALT), "accept_vault_loss": True}
    )

    assert (refused.json()["code"], len(before)) == ("vault_loss_unconfirmed", 2)
    assert done.status_code == 204, done.content
    assert state() == {}
    with tenancy.context(tenancy.SYSTEM):
        holder = Holder.objects.get(owner=api.user)
    assert (holder.size, holder.items) == (0, 0)
    assert Entry.objects.filter(event="vault.lost", owner_id=api.user.pk).count() == 2
    assert vault_of(sign_in(User.objects.get(pk=api.user.pk)))


@pytest.mark.commits
def test_a_vault_that_waited_for_a_new_password_is_refused(person):
    """Sealed with the old account key it would never open, and stand against every later password."""
    api, kept, trashed = person
    body = {"vault_id": new_id(), **sealed()}

    with ThreadPoolExecutor(1) as pool, transaction.atomic(), tenancy.context(tenancy.SYSTEM):
        Holder.objects.select_for_update().get(owner=api.user)
        waiting = pool.submit(closing, lambda: api.post("vault", body))
        time.sleep(0.5)
        Session.objects.filter(pk=api.session.pk).update(revoked_at=timezone.now())

    assert waiting.result().json()["code"] == "token_revoked"
    assert set(state()) == {kept, trashed}


def closing(act):
    try:
        return act()
    finally:
        connections.close_all()


@pytest.mark.commits
def test_a_rotation_and_a_new_password_never_wait_for_each_other_for_ever(person):
    api, kept, trashed = person
    (item,) = api.get(f"vault/{kept}/items").json()["results"]
    body = {**sealed(2), "items": [{"item_id": item["item_id"], **sealed(2)}]}
    sign_in(api.user)  # so that a rotation has a session to end
    original = services.close_other_sessions
    entered = threading.Event()

    def slowly(*args, **kwargs):
        entered.set()
        time.sleep(0.5)
        return original(*args, **kwargs)

    with mock.patch.object(services, "close_other_sessions", slowly), ThreadPoolExecutor(2) as pool:
        rotating = pool.submit(closing, lambda: api.post(f"vault/{kept}/rotate", body, if_match=1))
        entered.wait(10)
        changing = pool.submit(closing, lambda: change(api, records(kept, trashed)))
        answers = {rotating.result().status_code, changing.result().status_code}

    assert answers in ({200, 409}, {200, 401})


def test_guesses_are_recorded_and_nothing_of_a_new_password_is_kept_for_a_repetition(person):
    api, kept, trashed = person
    wrong = {"current_auth_hash": auth_hash("wrong", SALT)}
    assert change(api, records(kept, trashed), **wrong).status_code == 401
    assert Entry.objects.filter(event="sign_in.failed", owner_id=api.user.pk).exists()
    body = {
        "current_auth_hash": auth_hash(PASSWORD, SALT),
        **blind(NEW, salt=NEW_SALT),
        "vaults": records(kept, trashed),
    }
    done = api.post("auth/password/vaults", body, Idempotency_Key="once")
    assert done.status_code == 200
    assert StoredAnswer.objects.count() == 0


def test_nonsense_gets_a_small_answer(person):
    api, *_ = person
    many = change(api, [{}] * 90)
    assert many.status_code == 400
    assert len(many.content) < 1_000
    too_many = change(api, [{}] * 30_000)
    assert (too_many.status_code, len(too_many.content) < 1_000) == (400, True)


def test_the_archive_has_all_that_it_takes_to_open_what_is_kept():
    """As somebody would, years later, with the archive, the password and the reference client alone."""
    user = UserFactory(password=make_password(auth_hash(PASSWORD, SALT)))
    user.kdf = Kdf(600_000, SALT)
    user.save()
    api = sign_in(user)
    ids = (uuid4(), uuid4())
    master = reference.master_key(PASSWORD, salt=SALT, iterations=600_000)
    where = {"vault_id": ids[0], "item_id": reference.NO_ITEM}
    record = {"key": reference.b64(bytes(32))}
    own = reference.seal(reference.account_key(master), reference.compact(record), **where, version=1)
    assert api.post("vault", {"vault_id": str(ids[0]), **own}).status_code == 201
    item = reference.seal(bytes(32), b'{"name": "Mail"}', vault_id=ids[0], item_id=ids[1], version=1)
    assert api.post(f"vault/{ids[0]}/items", {"item_id": str(ids[1]), **item}, if_match=1).status_code == 201

    with tenancy.context(tenancy.SYSTEM):
        archive = {
            name: list(found) if name.endswith("l") else found
            for name, found in lifecycle.export_personal_data(user.pk)
        }
    kdf = archive["account.json"]["kdf"]
    (vault,) = archive["vaults.json"]
    (kept,) = archive["vault_items.jsonl"]
    again = reference.master_key(PASSWORD, salt=reference.raw(kdf["salt"]), iterations=kdf["iterations"])
    key = json.loads(
        reference.unseal(
            reference.account_key(again), vault, vault_id=vault["vault_id"], item_id=reference.NO_ITEM
        )
    )["key"]
    assert (
        reference.unseal(reference.raw(key), kept, vault_id=kept["vault_id"], item_id=kept["item_id"])
        == b'{"name": "Mail"}'
    )
