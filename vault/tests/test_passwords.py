"""A new password never shuts a vault: its records come sealed anew with it, or nothing happens, or its loss was accepted."""

import pytest
from django.contrib.auth.hashers import make_password
from django.test import Client
from django.utils import timezone

from accounts import services as accounts
from accounts.models import EmailProof, Kdf, User
from accounts.services.emails import token_of
from accounts.tests.calls import auth_hash, blind, post
from accounts.tests.factories import UserFactory
from audit.models import Entry
from conftest import PASSWORD, sign_in
from core import tenancy
from vault.models import Holder, Item, Vault
from vault.tests.calls import item_of, new_id, sealed, vault_of

pytestmark = pytest.mark.django_db(transaction=True)
SALT, NEW_SALT = b"sixteen bytes ok", b"another sixteen."
NEW = "an entirely new phrase"


@pytest.fixture
def person(transactional_db):
    """Somebody blind with two vaults, one of them in the trash; their ids."""
    user = UserFactory(password=make_password(auth_hash(PASSWORD, SALT)), email_verified_at=timezone.now())
    user.kdf = Kdf(600_000, SALT)
    user.save()
    api = sign_in(user)
    kept, trashed = vault_of(api), vault_of(api)
    item_of(api, kept)
    assert api.delete(f"vault/{trashed}", if_match=1).status_code == 204
    return api, kept, trashed


def change(api, vaults, *, path="vault/password", **body):
    body = {"current_auth_hash": auth_hash(PASSWORD, SALT), **blind(NEW, salt=NEW_SALT), **body}
    return api.post(path, body if vaults is None else {**body, "vaults": vaults})


def records(*vaults, version=2):
    return [{"vault_id": pk, **sealed(version)} for pk in vaults]


def state():
    with tenancy.context(tenancy.SYSTEM):
        return {str(vault.vault_id): (vault.version, vault.deleted_at is None) for vault in Vault.objects.all()}


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

    assert api.post("vault/password", body).json()["errors"][0]["pointer"] == "/scheme"


def test_a_reset_gives_up_what_nobody_can_open_and_its_quota(person):
    api, *_ = person
    accounts.request_reset(api.user.email, now=timezone.now())
    accounts.mail_proofs(now=timezone.now())
    token = token_of(EmailProof.objects.latest("id"))
    refused = post(Client(), "password/reset", {"token": token, **blind(NEW, salt=NEW_SALT)})
    before = state()

    done = post(Client(), "password/reset", {"token": token, **blind(NEW, salt=NEW_SALT), "accept_vault_loss": True})

    assert (refused.json()["code"], len(before)) == ("vault_loss_unconfirmed", 2)
    assert done.status_code == 204, done.content
    assert state() == {}
    with tenancy.context(tenancy.SYSTEM):
        holder = Holder.objects.get(owner=api.user)
    assert (holder.size, holder.items) == (0, 0)
    assert Entry.objects.filter(event="vault.lost", owner_id=api.user.pk).count() == 2
    assert vault_of(sign_in(User.objects.get(pk=api.user.pk)))
