"""rotate_keys, revoke_sessions, create_admin: what operators call."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.credentials.tokens import KeyRing, SigningKey, next_ring, signer
from accounts.models import ApiKey, Session, Totp, User
from accounts.services import api_keys, mfa
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.models import Entry
from conftest import PASSWORD, sign_in
from core import encryption

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def own_installation(settings, tmp_path, monkeypatch):
    """A ring and a folder that no other test reads."""
    settings.VAR_DIR = tmp_path
    settings.JWT_KEYS = ["dev:a-key-of-forty-three-characters-or-even-more-a"]
    monkeypatch.delenv("JWT_KEYS", raising=False)


def run(*arguments, **options):
    out = StringIO()
    call_command(*arguments, "--json", stdout=out, **options)
    return json.loads(out.getvalue())


def key(kid, *, hours=None):
    return SigningKey(kid, kid * 43, NOW + timedelta(hours=hours) if hours is not None else None)


@pytest.mark.parametrize(
    ("ring", "kid"),
    [
        ([key("a"), key("b")], "a"),
        ([key("b", hours=1), key("a")], "a"),
        ([key("b", hours=-1), key("a")], "b"),
        ([key("c", hours=-1), key("b", hours=-9), key("a")], "c"),
        ([key("c", hours=1), key("b", hours=2)], "c"),
    ],
)
def test_the_newest_key_that_has_started_signs(ring, kid):
    assert signer(ring, now=NOW).kid == kid


def test_a_ring_turns_once_a_day_and_forgets_who_has_not_signed_for_a_day():
    one = [key("a")]
    two = next_ring(one, key("b", hours=1), now=NOW)
    same = next_ring(two, key("x", hours=2), now=NOW + timedelta(hours=20))
    three = next_ring(two, key("c", hours=30), now=NOW + timedelta(hours=26))

    assert [item.kid for item in two] == ["b", "a"]
    assert same == two
    assert [item.kid for item in three] == ["c", "b"]


def test_the_text_of_a_key_reads_back():
    for item in (key("a"), key("b", hours=3)):
        assert SigningKey.read(str(item)) == item


def test_no_valid_token_is_refused_while_processes_change_one_after_the_other():
    """Two processes: at each moment whatever one signs the other reads, though they change at different
    times.
    """
    old = [SigningKey("a", "a-key-of-forty-three-characters-or-even-more-a")]
    fresh = SigningKey(
        "b", "b-key-of-forty-three-characters-or-even-more-b", timezone.now() + timedelta(minutes=10)
    )
    new = next_ring(old, fresh, now=timezone.now())
    started = [SigningKey("b", fresh.secret, timezone.now() - timedelta(seconds=1)), *old]

    for first, second in [(old, old), (new, old), (old, new), (new, new), (started, new), (new, started)]:
        claims = {"sub": "x", "iat": timezone.now(), "exp": timezone.now() + timedelta(minutes=15)}
        assert KeyRing(second).decode(KeyRing(first).encode(claims))["sub"] == "x"


def test_rotate_keys_prints_a_ring_that_the_environment_accepts(settings, monkeypatch):
    monkeypatch.setenv("JWT_KEYS", ",".join(settings.JWT_KEYS))

    facts = run("rotate_keys", "--after", "5")

    ring = facts["jwt_keys"].split(",")
    assert (facts["changed"], len(ring), ring[1:]) == (True, 2, settings.JWT_KEYS)
    settings.JWT_KEYS = ring
    assert run("rotate_keys") | {"kids": 0} == {
        "jwt_keys": facts["jwt_keys"],
        "changed": False,
        "kids": 0,
        "renewed": 0,
    }
    assert Entry.objects.filter(event="keys.rotated").count() == 1
    assert ring[0].split(":", 1)[1] not in Entry.objects.get(event="keys.rotated").facts


def test_rotate_keys_keeps_the_ring_of_a_development_installation(settings, tmp_path):
    (tmp_path / "secrets.json").write_text(json.dumps({"secret_key": "x", "jwt_keys": settings.JWT_KEYS}))

    facts = run("rotate_keys")

    kept = json.loads((tmp_path / "secrets.json").read_text())
    assert kept == {"secret_key": "x", "jwt_keys": facts["jwt_keys"].split(",")}
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_rotate_keys_encrypts_anew_what_an_older_secret_encrypted(settings):
    user = UserFactory()
    secret = mfa.begin_totp(user)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key with more than fifty characters in it, really"
    assert Totp.objects.get().secret == secret

    assert (run("rotate_keys")["renewed"], run("rotate_keys")["renewed"]) == (1, 0)

    settings.SECRET_KEY_FALLBACKS = []
    assert Totp.objects.get().secret == secret
    settings.SECRET_KEY = "a third secret key that never encrypted anything in this database"
    with pytest.raises(encryption.Undecryptable):
        Totp.objects.get()
    with pytest.raises(CommandError, match="SECRET_KEY_FALLBACKS"):
        call_command("rotate_keys")


def test_what_is_encrypted_for_one_place_does_not_open_in_another():
    sealed = encryption.encrypt(b"x", associated_data="a.b")

    assert encryption.decrypt(sealed, associated_data="a.b") == b"x"
    for wrong in (sealed[:-1], sealed[:-1] + b"\0", b"", b"short"):
        with pytest.raises(encryption.Undecryptable):
            encryption.decrypt(wrong, associated_data="a.b")
    with pytest.raises(encryption.Undecryptable):
        encryption.decrypt(sealed, associated_data="a.c")


def test_revoke_sessions_ends_one_accounts_or_all(member):
    mine = sign_in(member)
    other = sign_in(UserFactory())
    api_keys.issue_api_key(member.pk, actor=SYSTEM, now=timezone.now(), label="x", scopes=["sites.read"])

    assert run("revoke_sessions", member.email, "--keys", "--dry-run") == {
        "sessions": 1,
        "keys": 1,
        "dry_run": True,
    }
    assert mine.get("auth/me").status_code == 200
    assert run("revoke_sessions", "MEMBER@example.com", "--keys") == {
        "sessions": 1,
        "keys": 1,
        "dry_run": False,
    }
    assert run("revoke_sessions", member.email, "--keys") == {"sessions": 0, "keys": 0, "dry_run": False}
    assert (mine.get("auth/me").status_code, other.get("auth/me").status_code) == (401, 200)
    assert run("revoke_sessions", "--all") == {"sessions": 1, "keys": 0, "dry_run": False}
    assert other.get("auth/me").status_code == 401
    assert (
        ApiKey.objects.filter(revoked_at=None).count() == Session.objects.filter(revoked_at=None).count() == 0
    )


@pytest.mark.parametrize("arguments", [[], ["x@example.com", "--all"], ["nobody@example.com"]])
def test_revoke_sessions_asks_whose(arguments):
    with pytest.raises(CommandError):
        call_command("revoke_sessions", *arguments)


def test_an_admin_made_by_command_needs_no_confirmation(monkeypatch, settings):
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    facts = run("create_admin", "boss@example.com")

    assert User.objects.get(pk=facts["id"]).email_verified_at
    assert run("create_admin", "boss@example.com")["created"] is False


@pytest.mark.parametrize("name", ["rotate_keys", "revoke_sessions", "create_admin"])
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        call_command(name, "--help")

    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 300
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
