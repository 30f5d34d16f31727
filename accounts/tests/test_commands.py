"""Management commands rotate_keys, revoke_sessions and create_admin."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.models import ApiKey, Session, Totp, User
from accounts.services import api_keys, mfa
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.models import Entry
from conftest import PASSWORD, sign_in
from core import encryption

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def isolated_settings(settings, tmp_path, monkeypatch):
    """JWT_KEYS and VAR_DIR of this test alone."""
    settings.VAR_DIR = tmp_path
    settings.JWT_KEYS = ["dev:a-key-of-forty-three-characters-or-even-more-a"]
    monkeypatch.delenv("JWT_KEYS", raising=False)


def call_json(*arguments, **options):
    out = StringIO()
    call_command(*arguments, "--json", stdout=out, **options)
    return json.loads(out.getvalue())


def test_rotate_keys_prints_jwt_keys_that_settings_accept(settings, monkeypatch):
    monkeypatch.setenv("JWT_KEYS", ",".join(settings.JWT_KEYS))

    result = call_json("rotate_keys", "--after", "5")

    ring = result["jwt_keys"].split(",")
    assert (result["changed"], len(ring), ring[1:]) == (True, 2, settings.JWT_KEYS)
    settings.JWT_KEYS = ring
    assert call_json("rotate_keys") | {"kids": 0} == {
        "jwt_keys": result["jwt_keys"],
        "changed": False,
        "kids": 0,
        "renewed": 0,
    }
    assert Entry.objects.filter(event="keys.rotated").count() == 1
    assert ring[0].split(":", 1)[1] not in Entry.objects.get(event="keys.rotated").facts


def test_rotate_keys_writes_secrets_json_in_development(settings, tmp_path):
    (tmp_path / "secrets.json").write_text(json.dumps({"secret_key": "x", "jwt_keys": settings.JWT_KEYS}))

    result = call_json("rotate_keys")

    stored = json.loads((tmp_path / "secrets.json").read_text())
    assert stored == {"secret_key": "x", "jwt_keys": result["jwt_keys"].split(",")}
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_rotate_keys_reencrypts_values_of_an_older_secret_key(settings):
    user = UserFactory()
    secret = mfa.begin_totp(user)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key with more than fifty characters in it, really"
    assert Totp.objects.get().secret == secret

    assert (call_json("rotate_keys")["renewed"], call_json("rotate_keys")["renewed"]) == (1, 0)

    settings.SECRET_KEY_FALLBACKS = []
    assert Totp.objects.get().secret == secret
    settings.SECRET_KEY = "a third secret key that never encrypted anything in this database"
    with pytest.raises(encryption.Undecryptable):
        Totp.objects.get()
    with pytest.raises(CommandError, match="SECRET_KEY_FALLBACKS"):
        call_command("rotate_keys")


def test_decrypt_refuses_ciphertext_of_another_place():
    ciphertext = encryption.encrypt(b"x", associated_data="a.b")

    assert encryption.decrypt(ciphertext, associated_data="a.b") == b"x"
    for invalid in (ciphertext[:-1], ciphertext[:-1] + b"\0", b"", b"short"):
        with pytest.raises(encryption.Undecryptable):
            encryption.decrypt(invalid, associated_data="a.b")
    with pytest.raises(encryption.Undecryptable):
        encryption.decrypt(ciphertext, associated_data="a.c")


def test_revoke_sessions_ends_sessions_of_one_account_or_of_all(member):
    own = sign_in(member)
    other = sign_in(UserFactory())
    api_keys.issue_api_key(member.pk, actor=SYSTEM, now=timezone.now(), label="x", scopes=["sites.read"])

    assert call_json("revoke_sessions", member.email, "--keys", "--dry-run") == {
        "sessions": 1,
        "keys": 1,
        "dry_run": True,
    }
    assert own.get("auth/me").status_code == 200
    assert call_json("revoke_sessions", "MEMBER@example.com", "--keys") == {
        "sessions": 1,
        "keys": 1,
        "dry_run": False,
    }
    assert call_json("revoke_sessions", member.email, "--keys") == {
        "sessions": 0,
        "keys": 0,
        "dry_run": False,
    }
    assert (own.get("auth/me").status_code, other.get("auth/me").status_code) == (401, 200)
    assert call_json("revoke_sessions", "--all") == {"sessions": 1, "keys": 0, "dry_run": False}
    assert other.get("auth/me").status_code == 401
    assert (
        ApiKey.objects.filter(revoked_at=None).count() == Session.objects.filter(revoked_at=None).count() == 0
    )


@pytest.mark.parametrize("arguments", [[], ["x@example.com", "--all"], ["nobody@example.com"]])
def test_revoke_sessions_requires_one_existing_address_or_all(arguments):
    with pytest.raises(CommandError):
        call_command("revoke_sessions", *arguments)


def test_create_admin_creates_a_verified_account_once(monkeypatch, settings):
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    result = call_json("create_admin", "boss@example.com")

    assert User.objects.get(pk=result["id"]).email_verified_at
    assert call_json("create_admin", "boss@example.com")["created"] is False


@pytest.mark.parametrize("name", ["rotate_keys", "revoke_sessions", "create_admin"])
def test_rotate_keys_revoke_sessions_and_create_admin_print_help(name, capsys):
    with pytest.raises(SystemExit) as system_exit:
        call_command(name, "--help")

    assert system_exit.value.code == 0
    assert len(capsys.readouterr().out) > 300
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
