"""Which versions of Redis and Valkey are refused."""

import pytest

from core.observability import startup_checks
from core.observability.redis_versions import is_patched, is_supported
from core.observability.startup_checks import StartupRefused, check_redis_version
from core.storage import redis

PATCHED = {
    "6.2.19": False,
    "6.2.20": True,
    "6.2.21": True,
    "7.0.15": False,
    "7.2.10": False,
    "7.2.11": True,
    "7.3.99": False,
    "7.4.5": False,
    "7.4.6": True,
    "8.0.3": False,
    "8.0.4": True,
    "8.1.9": False,
    "8.2.1": False,
    "8.2.2": True,
    "8.4.0": True,
    "9.0.0": True,
    "255.255.255": True,  # built from the development branch
}
PATCHED_VALKEY = {
    "7.2.10": False,
    "7.2.11": True,
    "8.0.5": False,
    "8.0.6": True,
    "8.1.3": False,
    "8.1.4": True,
    "9.0.0": True,
}


def valkey(version):
    """The part of INFO that tells the version of Valkey."""
    return {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": version}


@pytest.mark.parametrize(("version", "patched"), PATCHED.items())
def test_is_patched_knows_the_patch_levels_of_redis(version, patched):
    assert is_patched({"redis_version": version}) is patched


@pytest.mark.parametrize(("version", "patched"), PATCHED_VALKEY.items())
def test_is_patched_knows_the_patch_levels_of_valkey(version, patched):
    assert is_patched(valkey(version)) is patched


@pytest.mark.parametrize(("version", "supported"), [("5.0.14", False), ("6.0.20", False), ("6.2.0", True)])
def test_is_supported_needs_redis_6_2(version, supported):
    assert is_supported({"redis_version": version}) is supported


def test_check_redis_version_refuses_a_vulnerable_version_in_production(settings):
    settings.DEVELOPMENT = False

    with pytest.raises(
        StartupRefused, match=r"Version 7\.0\.15 at REDIS_URL .* 7\.2\.11, .*PATCHED_BY_VENDOR"
    ):
        check_redis_version({"redis_version": "7.0.15"}, "REDIS_URL")
    with pytest.raises(StartupRefused, match=r"Version 8\.0\.5 at CACHE_REDIS_URL .* 8\.0\.6"):
        check_redis_version(valkey("8.0.5"), "CACHE_REDIS_URL")
    check_redis_version({"redis_version": "7.2.11"}, "REDIS_URL")


def test_check_redis_version_accepts_what_the_vendor_has_patched(settings):
    settings.DEVELOPMENT = False
    settings.REDIS_PATCHED_BY_VENDOR = True

    check_redis_version({"redis_version": "7.0.15"}, "REDIS_URL")

    with pytest.raises(StartupRefused, match="or newer is needed"):
        check_redis_version({"redis_version": "6.0.16"}, "REDIS_URL")


def test_check_redis_version_warns_in_development(settings, log_lines):
    settings.DEVELOPMENT = True

    check_redis_version({"redis_version": "7.0.15"}, "REDIS_URL")

    (line,) = log_lines()
    assert (line["event"], line["version"]) == ("redis_has_known_vulnerabilities", "7.0.15")


def test_check_redis_reads_the_version_of_the_server(settings):
    settings.DEVELOPMENT = False
    if is_patched(redis.client().info()):
        startup_checks._check_redis()
    else:
        with pytest.raises(StartupRefused, match="REDIS_PATCHED_BY_VENDOR"):
            startup_checks._check_redis()
