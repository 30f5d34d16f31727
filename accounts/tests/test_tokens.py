"""Signing keys of access tokens."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.credentials.tokens import KeyRing, SigningKey, rotate_key_ring, signing_key_at

pytestmark = pytest.mark.django_db


NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


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
def test_signing_key_at_returns_the_newest_started_key(ring, kid):
    assert signing_key_at(ring, now=NOW).kid == kid


def test_rotate_key_ring_adds_a_key_once_a_day_and_drops_unused_keys():
    one_key = [key("a")]
    two_keys = rotate_key_ring(one_key, key("b", hours=1), now=NOW)
    unchanged = rotate_key_ring(two_keys, key("x", hours=2), now=NOW + timedelta(hours=20))
    third_ring = rotate_key_ring(two_keys, key("c", hours=30), now=NOW + timedelta(hours=26))

    assert [signing_key.kid for signing_key in two_keys] == ["b", "a"]
    assert unchanged == two_keys
    assert [signing_key.kid for signing_key in third_ring] == ["c", "b"]


def test_signing_key_parse_reverses_str():
    for signing_key in (key("a"), key("b", hours=3)):
        assert SigningKey.parse(str(signing_key)) == signing_key


def test_rotate_key_ring_keeps_tokens_valid_while_processes_restart():
    """One process signs and the other verifies, each with any of the rings in use during the change."""
    old_ring = [SigningKey("a", "a-key-of-forty-three-characters-or-even-more-a")]
    new_key = SigningKey(
        "b", "b-key-of-forty-three-characters-or-even-more-b", timezone.now() + timedelta(minutes=10)
    )
    new_ring = rotate_key_ring(old_ring, new_key, now=timezone.now())
    started_ring = [SigningKey("b", new_key.secret, timezone.now() - timedelta(seconds=1)), *old_ring]

    for first, second in [
        (old_ring, old_ring),
        (new_ring, old_ring),
        (old_ring, new_ring),
        (new_ring, new_ring),
        (started_ring, new_ring),
        (new_ring, started_ring),
    ]:
        claims = {"sub": "x", "iat": timezone.now(), "exp": timezone.now() + timedelta(minutes=15)}
        assert KeyRing(second).decode(KeyRing(first).encode(claims))["sub"] == "x"
