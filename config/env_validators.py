"""Validators of environment variables, as functions for `pydantic.AfterValidator` and `BeforeValidator`.

Each returns the value that the setting gets, or raises ValueError with a message that fits after the name of
the variable and a colon. No message contains the value, which may be a secret.
"""

import ipaddress
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList
from pydantic import SecretStr

ORIGIN_PATTERN = re.compile(r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$")
HOST_NAME_PATTERN = re.compile(
    r"^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
)
BACKUP_KEY_PATTERN = re.compile(r"^[A-Za-z0-9+/]{43}=$")
AUDIT_KEY_PATTERN = re.compile(r"^[A-Za-z0-9_-]{1,32}:[A-Za-z0-9+/]{43}=$")
JWT_KEY_PATTERN = re.compile(
    r"^(?P<kid>[A-Za-z0-9_-]{1,32})(@(?P<starts>[0-9]{8}T[0-9]{6}Z))?:(?P<key>.{43,})$"
)
JWT_KEY_TIME_FORMAT = "%Y%m%dT%H%M%SZ"  # UTC
MIN_DIFFERENT_CHARACTERS = 10  # a secret with fewer is a placeholder or one repeated letter
MIN_SECRET_KEY_CHARACTERS = 50


def split_at_commas(value: Any) -> Any:
    """Split a text at its commas and drop empty items; return anything else unchanged."""
    if not isinstance(value, str):
        return value
    return [item.strip() for item in value.split(",") if item.strip()]


def validate_cors_origins(value: list[str]) -> list[str]:
    """Require origins with scheme and host, without path or wildcard."""
    if invalid := [origin for origin in value if not ORIGIN_PATTERN.match(origin)]:
        raise ValueError(f"not an exact origin such as https://app.example.com: {', '.join(invalid)}")
    return value


def validate_networks(value: list[str]) -> list[str]:
    """Require IPv4 and IPv6 networks in CIDR notation (RFC 4632), without host bits."""
    for network in value:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError("each must be a network such as 10.0.0.0/8 or fd00::/8") from None
    return value


def validate_jwt_keys(value: list[str]) -> list[str]:
    """Require `kid:key` or `kid@<UTC time>:key` with distinct kids and keys of at least 43 characters."""
    matches = [match for item in value if (match := JWT_KEY_PATTERN.match(item))]
    if len(matches) != len(value):
        raise ValueError(
            "each must be kid:key or kid@YYYYMMDDTHHMMSSZ:key with a key of at least 43 characters"
        )
    if any(match["starts"] and not _is_jwt_key_time(match["starts"]) for match in matches):
        raise ValueError("the start time of a key is not a valid date and time")
    if len({match["kid"] for match in matches}) != len(value):
        raise ValueError("two keys share a kid")
    if any(len(set(match["key"])) < MIN_DIFFERENT_CHARACTERS for match in matches):
        raise ValueError(f"a key has fewer than {MIN_DIFFERENT_CHARACTERS} different characters")
    return value


def _is_jwt_key_time(text: str) -> bool:
    try:
        datetime.strptime(text, JWT_KEY_TIME_FORMAT)  # noqa: DTZ007 - the format says UTC
    except ValueError:
        return False
    return True


def validate_audit_keys(value: list[str]) -> list[str]:
    """Require `kid:seed` with distinct kids and Ed25519 seeds (RFC 8032) of 32 bytes in base64."""
    key_ids = {item.split(":")[0] for item in value}
    if not all(AUDIT_KEY_PATTERN.match(item) for item in value) or len(key_ids) != len(value):
        raise ValueError("each must be kid:seed with a seed of 32 bytes in base64, and no kid twice")
    return value


def validate_backup_keys(value: list[str]) -> list[str]:
    """Require 32 bytes in base64 for each key."""
    if not all(BACKUP_KEY_PATTERN.match(item) for item in value):
        raise ValueError("each must be 32 bytes in base64, as `manage.py backup_keys new` prints them")
    return value


def validate_secret_key(value: SecretStr) -> SecretStr:
    """Require enough different characters; the field itself requires the length."""
    if len(set(value.get_secret_value())) < MIN_DIFFERENT_CHARACTERS:
        raise ValueError(f"has fewer than {MIN_DIFFERENT_CHARACTERS} different characters")
    return value


def validate_secret_key_fallbacks(value: list[str]) -> list[str]:
    """Require of each older key what SECRET_KEY must have."""
    for key in value:
        if len(key) < MIN_SECRET_KEY_CHARACTERS or len(set(key)) < MIN_DIFFERENT_CHARACTERS:
            raise ValueError(
                f"each must be as strong as SECRET_KEY: {MIN_SECRET_KEY_CHARACTERS} characters, "
                f"{MIN_DIFFERENT_CHARACTERS} different ones"
            )
    return value


def validate_mail_url(value: SecretStr) -> SecretStr:
    """Require an SMTP server or a folder."""
    parts = urlsplit(value.get_secret_value())
    is_folder = parts.scheme == "file" and parts.path
    is_server = parts.scheme in {"smtp", "smtps"} and parts.hostname
    if not is_folder and not is_server:
        raise ValueError(
            "must be smtps://user:password@host:465, smtp://user:password@host:587 or file:///folder"
        )
    return value


def validate_front_end_url(value: str) -> str:
    """Require an HTTP address without query, or nothing; remove the slash at its end."""
    if value and not re.match(r"^https?://[^\s?#]+$", value):
        raise ValueError("must be an address such as https://app.example.com")
    return value.rstrip("/")


def validate_backup_interval(value: timedelta) -> timedelta:
    """Require 5 minutes to 7 days."""
    if not timedelta(minutes=5) <= value <= timedelta(days=7):
        raise ValueError("must be between 5 minutes and 7 days")
    return value


def validate_object_store_url(value: SecretStr) -> SecretStr:
    """Require a folder or an S3 bucket."""
    if not value.get_secret_value().startswith(("file:///", "s3://")):
        raise ValueError("must be file:///folder or s3://bucket/prefix")
    return value


def validate_host_name(value: str) -> str:
    """Require a host name (RFC 1123) and return it in lower case."""
    if not HOST_NAME_PATTERN.match(value.lower()):
        raise ValueError("must be a host name without scheme or port")
    return value.lower()


def validate_postgres_url(value: SecretStr) -> SecretStr:
    """Require a PostgreSQL URL with a host and the name of a database."""
    if not _is_server_url(value, {"postgresql", "postgres"}) or not _path(value).strip("/"):
        raise ValueError("must be postgresql://... with a host and a database name")
    return value


def validate_redis_url(value: SecretStr) -> SecretStr:
    """Require a Redis URL with a host."""
    if not _is_server_url(value, {"redis", "rediss"}):
        raise ValueError("must be rediss://... with a host")
    return value


def _is_server_url(value: SecretStr, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(value.get_secret_value())
        return bool(parts.scheme in schemes and parts.hostname and (parts.port or 1) > 0)
    except ValueError:  # not a URL, or the port is not a number
        return False


def _path(value: SecretStr) -> str:
    return urlsplit(value.get_secret_value()).path


def registrable_domain(host: str) -> str:
    """Return the registrable domain by the public suffix list: `www.example.co.uk` -> `example.co.uk`.

    An IP address, and a name without a dot, are returned unchanged.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return PublicSuffixList().privatesuffix(host) or host
