"""The typed environment: an invalid one stops the process with a message that names every problem."""

import json
import os
import re
import runpy
import subprocess
import sys

import pytest

from config.env import BASE_DIR, EnvironmentInvalid, load
from config.env_validators import registrable_domain

VALID = {
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
def load_from(monkeypatch):
    """Return a function that loads the environment from these variables and no others."""

    def load_values(**values):
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in values.items():
            if value is not None:
                monkeypatch.setenv(name, value)
        return load()

    return load_values


@pytest.fixture
def error_message(load_from):
    """Return a function that returns the error message for a valid environment with these changes."""

    def load_with(**changes):
        with pytest.raises(EnvironmentInvalid) as error:
            load_from(**{**VALID, **changes})
        return str(error.value)

    return load_with


def test_load_returns_typed_values(load_from):
    env = load_from(**VALID)

    assert (env.cors_origins, env.sites_scheme, env.sites_port, env.debug) == (
        ["https://www.example.com", "https://example.com"],
        "https",
        None,
        False,
    )
    assert env.cache_redis_url.get_secret_value() == "redis://:x@redis.example.com:6379/1"


def test_load_allows_private_networks_only_where_the_variable_names_them(load_from):
    assert load_from(**VALID).outbound_allowed_networks == []
    networks = load_from(**VALID, OUTBOUND_ALLOWED_NETWORKS="10.0.0.0/8, fd00::/8").outbound_allowed_networks
    assert networks == ["10.0.0.0/8", "fd00::/8"]
    development = {name: VALID[name] for name in ("DATABASE_URL", "REDIS_URL")}
    assert load_from(**development).outbound_allowed_networks == ["127.0.0.0/8", "::1/128"]


def test_load_names_every_missing_variable_in_one_message(load_from):
    with pytest.raises(EnvironmentInvalid) as error:
        load_from(ENVIRONMENT="production")

    message = str(error.value)
    for name in ("SECRET_KEY", "JWT_KEYS", "DATABASE_URL", "REDIS_URL", "APP_HOST", "SITES_DOMAIN"):
        assert f"{name} is missing" in message


def provider_at(issuer):
    """The JSON of OIDC_PROVIDERS with one provider."""
    return json.dumps({"work": {"issuer": issuer, "client_id": "x", "client_secret": "x"}})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"SECRET_KEY": "a" * 60}, "SECRET_KEY"),
        ({"JWT_KEYS": "nokid"}, "JWT_KEYS"),
        ({"JWT_KEYS": "a:short"}, "JWT_KEYS"),
        ({"JWT_KEYS": VALID["JWT_KEYS"] + "," + VALID["JWT_KEYS"]}, "JWT_KEYS"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://*.example.com"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://a.example.com/"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "http://a.example.com"}, "CORS_ORIGINS"),
        ({"AUDIT_KEYS": "a:short"}, "AUDIT_KEYS"),
        ({"OUTBOUND_ALLOWED_NETWORKS": "10.0.0.1/8"}, "OUTBOUND_ALLOWED_NETWORKS"),
        ({"OUTBOUND_ALLOWED_NETWORKS": "login.example.com"}, "OUTBOUND_ALLOWED_NETWORKS"),
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
            {"OIDC_PROVIDERS": provider_at("http://localhost:80")},
            "OIDC_PROVIDERS",
        ),
        (
            {"OIDC_PROVIDERS": provider_at("http://localhost:80@x")},
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
def test_load_names_the_variable_of_an_invalid_value(error_message, changes, name):
    assert f"  {name}" in error_message(**changes)


def test_parse_providers_accepts_the_example_of_the_guide_and_adds_presets(load_from):
    (sample,) = re.findall(r"(?ms)^```json\n(.*?)^```", (BASE_DIR / "docs" / "accounts.md").read_text())
    providers = load_from(**VALID, OIDC_PROVIDERS=sample).oidc_providers

    assert {name: (item.issuer, item.label) for name, item in providers.items()} == {
        "google": ("https://accounts.google.com", "Google"),
        "work": ("https://login.example.com", "Example Ltd"),
    }
    facebook = load_from(
        **VALID, OIDC_PROVIDERS='{"facebook": {"client_id": "x", "client_secret": "a secret"}}'
    )
    assert facebook.oidc_providers["facebook"].token_auth == "client_secret_post"
    assert "a secret" not in repr(facebook)


def test_load_names_problems_of_every_kind_and_shows_no_value(error_message):
    message = error_message(
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


def test_load_accepts_two_hosts_under_one_public_suffix(load_from):
    assert (
        load_from(**{**VALID, "APP_HOST": "panel.github.io", "SITES_DOMAIN": "pages.github.io"}).app_host
        == "panel.github.io"
    )


def test_development_defaults_generate_secrets_once_and_readable_for_their_owner_only(load_from, tmp_path):
    values = {"VAR_DIR": str(tmp_path), "DATABASE_URL": "postgresql://x/x", "REDIS_URL": "redis://x"}

    first = load_from(**values)
    second = load_from(**values)

    assert first.secret_key == second.secret_key
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def run_manage(*arguments, **environ):
    base_environ = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env={**base_environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_serve_stops_with_an_invalid_environment():
    process = run_manage("serve", ENVIRONMENT="production")

    assert (process.returncode, "SECRET_KEY is missing" in process.stderr, "Traceback" in process.stderr) == (
        1,
        True,
        False,
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "smtps://mailer:secret@mail.example.com",
            (True, False, "mail.example.com", 465, "mailer", "secret"),
        ),
        ("smtp://mailer:secret@mail.example.com", (False, True, "mail.example.com", 587, "mailer", "secret")),
        ("smtp://mail.example.com:2525", (False, True, "mail.example.com", 2525, "", "")),
    ],
)
def test_mail_url_always_uses_tls(monkeypatch, url, expected):
    for name, value in {**VALID, "MAIL_URL": url}.items():
        monkeypatch.setenv(name, value)
    settings = runpy.run_path(str(BASE_DIR / "config" / "settings.py"))

    names = ("USE_SSL", "USE_TLS", "HOST", "PORT", "HOST_USER", "HOST_PASSWORD")
    assert tuple(settings[f"EMAIL_{name}"] for name in names) == expected


def test_settings_pass_the_deployment_check_of_django():
    process = run_manage("check", "--deploy", "--fail-level", "WARNING", **VALID)

    assert process.returncode == 0, process.stderr
