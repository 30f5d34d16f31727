"""Login parameters of zero-knowledge accounts (prelogin)."""

import os
import secrets
from collections import Counter

import pytest
from django.test import Client
from django.utils import timezone

from accounts.credentials import zero_knowledge
from accounts.models import Kdf, User
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import (
    ZERO_KNOWLEDGE_EMAIL,
    post_auth,
    prelogin,
)
from core.storage import cache

pytestmark = pytest.mark.django_db


def test_prelogin_is_stable_for_an_unknown_address_in_any_spelling(zero_knowledge_account):
    responses = {
        prelogin(spelling).content
        for spelling in ("nobody@example.com", "Nobody@Example.COM ", "nobody@EXAMPLE.com")
    }

    assert len(responses) == 1
    assert prelogin("nobody2@example.com").content not in responses


def test_prelogin_derives_salts_from_the_secret_key(zero_knowledge_account, settings):
    before = prelogin("nobody@example.com").json()["salt"]
    settings.SECRET_KEY = secrets.token_urlsafe(48)

    assert prelogin("nobody@example.com").json()["salt"] != before


def create_users(count, *, start=0):
    """Create accounts: a third with passwords, the others with zero-knowledge login in three profiles."""
    profiles = [None] * 3 + [(600_000, 16)] * 3 + [(600_000, 32)] + [(1_000_000, 16)] * 2
    users = []
    for number in range(start, start + count):
        user = User(email=f"known{number}@example.com", password="!")
        profile = profiles[number % len(profiles)]
        user.kdf = Kdf(profile[0], os.urandom(profile[1])) if profile else None
        users.append(user)
    User.objects.bulk_create(users)


def count_profiles(responses):
    return Counter(
        (response.scheme, response.kdf.iterations, len(response.kdf.salt)) for response in responses
    )


def test_prelogin_responses_have_the_same_shape_with_and_without_an_account():
    create_users(20)
    known = [post_auth(Client(), "prelogin", {"email": f"known{number}@example.com"}) for number in range(20)]
    unknown = [
        post_auth(Client(), "prelogin", {"email": f"unknown{number}@example.com"}) for number in range(20)
    ]

    assert {response.status_code for response in known + unknown} == {200}
    assert len({tuple(sorted(response.headers)) for response in known + unknown}) == 1
    assert {tuple(response.json()) for response in known + unknown} == {("scheme", "kdf", "salt")}


def parameters_without_account(count):
    """Return the login parameters of addresses without an account, with an empty cache."""
    cache.clear("shared", "prelogin")
    return [zero_knowledge.login_parameters(f"unknown{number}@example.com") for number in range(count)]


def test_login_parameters_have_the_same_distribution_with_and_without_an_account():
    create_users(500)
    cache.clear("shared", "prelogin")
    known = [zero_knowledge.login_parameters(f"known{number}@example.com") for number in range(500)]
    unknown = [zero_knowledge.login_parameters(f"unknown{number}@example.com") for number in range(500)]

    for responses in (known, unknown):
        assert len({response.kdf.salt for response in responses}) == 500
    known_counts = count_profiles(known)
    unknown_counts = count_profiles(unknown)
    assert known_counts.keys() == unknown_counts.keys()
    # Tolerance: four standard deviations of the share of 500 draws, and the rounding of weights (2 ** 0.25).
    for profile, count in known_counts.items():
        spread = 4 * (500 * (count / 500) * (1 - count / 500) * 2) ** 0.5
        assert abs(unknown_counts[profile] - count) < spread + count * 0.19, (
            profile,
            count,
            unknown_counts[profile],
        )
    bits = [
        sum(byte.bit_count() for response in responses for byte in response.kdf.salt[:16]) / (500 * 128)
        for responses in (known, unknown)
    ]
    assert all(abs(share - 0.5) < 0.01 for share in bits), bits


def test_login_parameters_are_stable_when_similar_accounts_are_added():
    create_users(450)
    before = parameters_without_account(100)
    create_users(450, start=450)
    after = parameters_without_account(100)

    assert before == after


def test_profile_distribution_ignores_unverified_accounts_when_verification_is_required(settings):
    settings.EMAIL_VERIFICATION_REQUIRED = True
    create_users(50)
    User.objects.get_queryset().update(email_verified_at=timezone.now())
    before = parameters_without_account(50)
    create_users(500, start=50)

    assert parameters_without_account(50) == before


def test_profile_distribution_omits_rare_profiles(zero_knowledge_account):
    create_users(300)
    User.objects.filter(email=ZERO_KNOWLEDGE_EMAIL).update(kdf_iterations=654_321)

    assert prelogin().json()["kdf"]["iterations"] == 654_321
    cache.clear("shared", "prelogin")
    assert 654_321 not in {row[1] for row in zero_knowledge.profile_distribution()}
    User.objects.bulk_create(
        User(
            email=f"l{n}@example.com",
            password="!",
            scheme="blind",
            kdf_iterations=600_001 + n % 40,
            kdf_salt=b"s" * 16,
        )
        for n in range(4000)
    )
    assert len(zero_knowledge.profile_distribution()) <= zero_knowledge.MAX_PROFILES


@pytest.mark.parametrize(("percent", "share"), [(0, 0), (100, 200), (40, 80)])
def test_profile_distribution_follows_prelogin_blind_percent(
    settings, zero_knowledge_account, percent, share
):
    settings.PRELOGIN_BLIND_PERCENT = percent
    responses = parameters_without_account(200)

    assert abs(sum(response.scheme == "blind" for response in responses) - share) <= (
        0 if percent in {0, 100} else 28
    )


def test_prelogin_changes_the_salt_with_the_profile(zero_knowledge_account):
    before = {email: prelogin(email).json() for email in (f"unknown{n}@example.com" for n in range(20))}
    for number in range(100):
        UserFactory(email=f"more{number}@example.com")
    changed = {
        email: prelogin(email).json()
        for email in before
        if prelogin(email).json()["scheme"] != before[email]["scheme"]
    }

    assert changed
    assert not [
        email for email, response_data in changed.items() if response_data["salt"] == before[email]["salt"]
    ]


def test_prelogin_runs_one_query_with_and_without_an_account(
    zero_knowledge_account, django_assert_num_queries
):
    prelogin()
    for email in (ZERO_KNOWLEDGE_EMAIL, "nobody@example.com"):
        with django_assert_num_queries(1):
            post_auth(Client(), "prelogin", {"email": email})


def test_login_parameters_use_the_password_scheme_without_any_account():
    cache.clear("shared", "prelogin")

    assert zero_knowledge.login_parameters("nobody@example.com").scheme == "password"


def test_prelogin_is_unchanged_after_closing_the_account(zero_knowledge_account):
    before = prelogin().content
    zero_knowledge_account.delete("auth/me", if_match="*")

    assert prelogin().content == before
