"""The environment stops the boot and names everything that is wrong with it, at once."""

import os
import re
import subprocess
import sys

import pytest

from config.env import BASE_DIR, EnvironmentInvalid, load, registrable_domain

GOOD = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": "Zq8wLr2Tn5Vx9Bm3Kd7Hf1Js6Gp4Ya0Ce-Uo_Ri8Xt5Wn2Ql7Mv",
    "JWT_KEYS": "2026a:Zq8wLr2Tn5Vx9Bm3Kd7Hf1Js6Gp4Ya0Ce-Uo_Ri8Xt5Wn2Ql7Mv",
    "AUDIT_KEYS": "2026a:c2VlZC1vZi10aGlydHktdHdvLWJ5dGVzLWV4YWN0bHk=",
    "OBJECT_STORE_URL": "s3://bucket/prefix",
    "BACKUP_STORE_URL": "s3://elsewhere/prefix",
    "BACKUP_KEYS": "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
    "MAIL_URL": "smtps://mailer:secret@mail.example.com:465",
    "DATABASE_URL": "postgresql://app:x@db.example.com/app",
    "REDIS_URL": "redis://:x@redis.example.com:6379/0",
    "APP_HOST": "app.example.com",
    "SITES_DOMAIN": "example-sites.net",
    "CORS_ORIGINS": "https://www.example.com, https://example.com",
}


@pytest.fixture
def given(monkeypatch):
    """Make these variables the whole environment, and read it."""

    def read(**values):
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in values.items():
            if value is not None:
                monkeypatch.setenv(name, value)
        return load()

    return read


@pytest.fixture
def faults(given):
    def read(**changes):
        with pytest.raises(EnvironmentInvalid) as caught:
            given(**{**GOOD, **changes})
        return str(caught.value)

    return read


def test_a_good_environment_is_read_with_its_types(given):
    env = given(**GOOD)

    assert (env.cors_origins, env.sites_scheme, env.sites_port, env.debug) == (
        ["https://www.example.com", "https://example.com"],
        "https",
        None,
        False,
    )
    assert env.cache_redis_url.get_secret_value() == "redis://:x@redis.example.com:6379/1"


def test_every_missing_variable_is_named_at_once(given):
    with pytest.raises(EnvironmentInvalid) as caught:
        given(ENVIRONMENT="production")

    message = str(caught.value)
    for name in ("SECRET_KEY", "JWT_KEYS", "DATABASE_URL", "REDIS_URL", "APP_HOST", "SITES_DOMAIN"):
        assert f"{name} is missing" in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"SECRET_KEY": "a" * 60}, "SECRET_KEY"),
        ({"JWT_KEYS": "nokid"}, "JWT_KEYS"),
        ({"JWT_KEYS": "a:short"}, "JWT_KEYS"),
        ({"JWT_KEYS": GOOD["JWT_KEYS"] + "," + GOOD["JWT_KEYS"]}, "JWT_KEYS"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://*.example.com"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://a.example.com/"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "http://a.example.com"}, "CORS_ORIGINS"),
        ({"AUDIT_KEYS": "a:short"}, "AUDIT_KEYS"),
        ({"OBJECT_STORE_URL": "/tmp/x"}, "OBJECT_STORE_URL"),
        ({"MAIL_URL": "mail.example.com"}, "MAIL_URL"),
        ({"MAIL_URL": "file:///tmp/mail"}, "MAIL_URL"),
        ({"FRONT_END_URL": "app.example.com"}, "FRONT_END_URL"),
        ({"ACCOUNTS_EMAIL_VERIFICATION": "maybe"}, "ACCOUNTS_EMAIL_VERIFICATION"),
        ({"OIDC_PROVIDERS": "google"}, "OIDC_PROVIDERS"),
        ({"OIDC_PROVIDERS": '["google"]'}, "OIDC_PROVIDERS"),
        ({"OIDC_PROVIDERS": '{"google": {"client_id": "x"}}'}, "OIDC_PROVIDERS"),
        ({"OIDC_PROVIDERS": '{"work": {"client_id": "x", "client_secret": "x"}}'}, "OIDC_PROVIDERS"),
        ({"OIDC_PROVIDERS": '{"Go/ogle": {"client_id": "x", "client_secret": "x"}}'}, "OIDC_PROVIDERS"),
        ({"OIDC_PROVIDERS": '{"passkey": {"client_id": "x", "client_secret": "x"}}'}, "OIDC_PROVIDERS"),
        (
            {
                "OIDC_PROVIDERS": '{"work": {"issuer": "http://localhost:80", "client_id": "x", "client_secret": "x"}}'
            },
            "OIDC_PROVIDERS",
        ),
        (
            {
                "OIDC_PROVIDERS": '{"work": {"issuer": "http://localhost:80@x", "client_id": "x", "client_secret": "x"}}'
            },
            "OIDC_PROVIDERS",
        ),
        ({"PRELOGIN_BLIND_PERCENT": "101"}, "PRELOGIN_BLIND_PERCENT"),
        ({"PORT": "0"}, "PORT"),
        ({"PORT": "http"}, "PORT"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"WEB_WORKERS": "-1"}, "WEB_WORKERS"),
        ({"APP_HOST": "https://app.example.com"}, "APP_HOST"),
        ({"SITES_DOMAIN": "sites.example.com"}, "SITES_DOMAIN"),
        ({"SITES_DOMAIN": "app.example.com"}, "SITES_DOMAIN"),
        ({"ENVIRONMENT": "staging"}, "ENVIRONMENT"),
    ],
)
def test_a_weak_or_wrong_value_is_named(faults, changes, named):
    assert f"  {named}" in faults(**changes)


def test_the_providers_of_the_guide_are_read_with_their_presets(given):
    (sample,) = re.findall(r"(?ms)^```json\n(.*?)^```", (BASE_DIR / "docs" / "accounts.md").read_text())
    found = given(**GOOD, OIDC_PROVIDERS=sample).oidc_providers

    assert {name: (item.issuer, item.label) for name, item in found.items()} == {
        "google": ("https://accounts.google.com", "Google"),
        "work": ("https://login.example.com", "Example Ltd"),
    }
    facebook = given(**GOOD, OIDC_PROVIDERS='{"facebook": {"client_id": "x", "client_secret": "a secret"}}')
    assert facebook.oidc_providers["facebook"].token_auth == "client_secret_post"
    assert "a secret" not in repr(facebook)


def test_faults_of_every_kind_are_named_together_and_no_value_is_shown(faults):
    message = faults(
        SECRET_KEY="short-secret", PORT="x", SITES_DOMAIN=None, CORS_ORIGINS="http://a.example.com"
    )

    assert all(name in message for name in ("SECRET_KEY", "PORT", "SITES_DOMAIN", "CORS_ORIGINS"))
    assert "short-secret" not in message


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.example.co.uk", "example.co.uk"),
        ("a.b.example.com", "example.com"),
        ("x.github.io", "x.github.io"),
        ("localhost", "localhost"),
    ],
)
def test_registrable_domain_follows_the_public_suffix_list(host, domain):
    assert registrable_domain(host) == domain


def test_two_hosts_under_one_public_suffix_may_be_used_together(given):
    assert (
        given(**{**GOOD, "APP_HOST": "panel.github.io", "SITES_DOMAIN": "pages.github.io"}).app_host
        == "panel.github.io"
    )


def test_secrets_of_a_development_installation_are_made_once_for_its_owner_alone(given, tmp_path):
    values = {"VAR_DIR": str(tmp_path), "DATABASE_URL": "postgresql://x/x", "REDIS_URL": "redis://x"}

    first = given(**values)
    second = given(**values)

    assert first.secret_key == second.secret_key
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def run(*arguments, **environ):
    clean = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_process_stops_before_it_listens():
    done = run("serve", ENVIRONMENT="production")

    assert (done.returncode, "SECRET_KEY is missing" in done.stderr, "Traceback" in done.stderr) == (
        1,
        True,
        False,
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtps://mailer:secret@mail.example.com", "True False mail.example.com 465 mailer secret"),
        ("smtp://mailer:secret@mail.example.com", "False True mail.example.com 587 mailer secret"),
        ("smtp://mail.example.com:2525", "False True mail.example.com 2525"),
    ],
)
def test_mail_url_always_means_tls(url, expected):
    done = run("shell", "-v", "0", "-c", MAIL_SETTINGS, **{**GOOD, "MAIL_URL": url})

    assert done.stdout.strip() == expected, done.stderr


MAIL_SETTINGS = """
from django.conf import settings as s
print(s.EMAIL_USE_SSL, s.EMAIL_USE_TLS, s.EMAIL_HOST, s.EMAIL_PORT, s.EMAIL_HOST_USER, s.EMAIL_HOST_PASSWORD)
"""


def test_the_shipped_production_settings_pass_djangos_deployment_check():
    done = run("check", "--deploy", "--fail-level", "WARNING", **GOOD)

    assert done.returncode == 0, done.stderr
