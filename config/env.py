"""Every environment variable: its type, its default, its meaning.

Wrong or missing ones are named all at once.
"""

import ipaddress
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as Source

from config import defaults
from config.oidc_providers import Provider, parse_providers

BASE_DIR = Path(__file__).resolve().parent.parent
ORIGIN = re.compile(r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$")
HOST_NAME = re.compile(
    r"^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
)
BACKUP_KEY = re.compile(r"^[A-Za-z0-9+/]{43}=$")
SEED = re.compile(r"^[A-Za-z0-9_-]{1,32}:[A-Za-z0-9+/]{43}=$")
JWT_KEY_PATTERN = re.compile(
    r"^(?P<kid>[A-Za-z0-9_-]{1,32})(@(?P<starts>[0-9]{8}T[0-9]{6}Z))?:(?P<key>.{43,})$"
)
JWT_KEY_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
CommaList = Annotated[list[str], NoDecode]


class EnvironmentInvalid(SystemExit):
    """The boot stops here: the message names every variable that is missing or weak. Exit code 1."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(
            "The environment is not valid:\n" + "\n".join(f"  {fault}" for fault in sorted(faults))
        )


class Environment(BaseSettings):
    """Read from the process environment only.

    In development what is secret is made once and kept in VAR_DIR.
    """

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True, env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: Source, env_settings: Source, **others: Source
    ) -> tuple[Source, ...]:
        """The process environment, then the defaults that `load` passes in; no files."""
        return env_settings, init_settings

    environment: Literal["development", "production"] = Field(
        "development", description="development relaxes cookies and makes its own secrets."
    )
    secret_key: SecretStr = Field(
        min_length=50, description="Signs admin cookies and links. Rotate with SECRET_KEY_FALLBACKS."
    )
    secret_key_fallbacks: CommaList = Field([], description="Older values of SECRET_KEY, comma separated.")
    jwt_keys: CommaList = Field(
        min_length=1,
        description="kid:key or kid@20270131T120000Z:key, comma separated: all verify; the newest that has started signs, else the first. 43 characters or more a key.",
    )
    audit_keys: CommaList = Field(
        min_length=1,
        description="kid:seed, comma separated; Ed25519 seeds of 32 bytes in base64. The first signs checkpoints, all verify.",
    )
    object_store_url: SecretStr = Field(
        description="file:///folder or s3://key:secret@bucket/prefix?endpoint=&region=. Checkpoints of the audit trail.",
    )
    database_url: SecretStr = Field(
        description="postgresql://role:password@host:port/name; a role without SUPERUSER and BYPASSRLS."
    )
    redis_url: SecretStr = Field(
        description="redis://:password@host:port/0; limits, revocations, streams, Celery. noeviction."
    )
    cache_redis_url: SecretStr | None = Field(
        None, description="May evict. Default: database 1 beside REDIS_URL."
    )
    app_host: str = Field("localhost", description="Host name of API and admin.")
    sites_domain: str = Field("localhost", description="Published sites are at <subdomain>.SITES_DOMAIN.")
    sites_scheme: Literal["http", "https"] | None = Field(
        None, description="Scheme of published sites. https in production."
    )
    sites_port: int | None = Field(
        None, ge=1, le=65535, description="Port in addresses of published sites; none in production."
    )
    cors_origins: CommaList = Field([], description="Exact origins of front ends, comma separated.")
    host: str = Field("127.0.0.1", description="Address the public listener binds.")
    port: int = Field(8000, ge=1, le=65535, description="Port of the public listener.")
    internal_host: str = Field(
        "127.0.0.1", description="Address of the internal listener: /metrics and /internal/*."
    )
    internal_port: int = Field(8001, ge=1, le=65535, description="Port of the internal listener.")
    var_dir: Path = Field(BASE_DIR / "var", description="Where this installation keeps files.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Least severe line logged."
    )
    log_format: Literal["json", "console"] | None = Field(
        None, description="json in production, console in development."
    )
    process: Literal["web", "worker", "beat", "command"] = Field(
        "command", description="What this process is; set by `manage.py serve` and `up`."
    )
    web_workers: int = Field(2, ge=1, le=64, description="Web processes.")
    web_threads: int = Field(
        4, ge=1, le=64, description="Threads and database connections a web process has."
    )
    worker_processes: int = Field(1, ge=1, le=64, description="Celery processes.")
    hash_concurrency: int = Field(
        os.cpu_count() or 1, ge=1, description="Password hashes at once in a process, 64 MiB each."
    )
    trusted_proxy_count: int = Field(
        0, ge=0, le=10, description="Proxies before us that append to X-Forwarded-For."
    )
    rate_limit: int = Field(
        100, ge=1, description="API requests a minute for each user or client network, and the most at once."
    )
    page_cache_mib: int = Field(64, ge=1, description="Memory for rendered pages in a web process.")
    drain_seconds: float = Field(
        0, ge=0, le=60, description="Time between failing readiness and closing the listener."
    )
    mail_url: SecretStr = Field(
        description="smtps://user:password@host:465, smtp://user:password@host:587 (STARTTLS), or file:///folder.",
    )
    mail_from: str = Field("", description="From address of our mails. Default: no-reply@APP_HOST.")
    front_end_url: str = Field(
        "",
        description="Where links in mails lead: <FRONT_END_URL>/verify-email#<token>, /reset-password#<token>, /invitation#<token>, /sites/<id>, /oidc/<provider>, /restore-account#<token>, /impersonate#<token>. Default: our own pages.",
    )
    accounts_email_verification: Literal["required", "optional"] = Field(
        "optional",
        description="required: an account exists once its address is confirmed. required in production.",
    )
    staff_mfa: Literal["required", "optional"] = Field(
        "optional", description="Whether the admin needs a second factor. required in production."
    )
    oidc_providers: Annotated[dict[str, Provider], NoDecode] = Field(
        {},
        description='Sign-in providers, as JSON: {"google": {"client_id": "...", "client_secret": "..."}}; see docs/accounts.md.',
    )
    vault_mib: int = Field(
        100,
        ge=1,
        description="MiB of ciphertext that one person's vaults may take, history and trash included.",
    )
    geoip_path: str = Field(
        "",
        description="A file in MaxMind's format (GeoLite2 City, DB-IP); without one countries of visits are unknown.",
    )
    analytics_keep_days: int = Field(760, ge=1, description="Days that events of visits are kept; sums stay.")
    backup_store_url: SecretStr = Field(
        description="Where backups go: file:///folder or s3://key:secret@bucket/prefix?endpoint=&region=, elsewhere than OBJECT_STORE_URL.",
    )
    backup_s3_region: str = Field(
        "", description="Region of the backups' bucket, in place of the one in BACKUP_STORE_URL."
    )
    backup_keys: CommaList = Field(
        [],
        description="Master keys of backups, 32 bytes in base64, comma separated: the first encrypts, all decrypt.",
    )
    backup_keys_file: str = Field(
        "", description="A file with one master key a line, in place of BACKUP_KEYS."
    )
    backup_recipients: CommaList = Field(
        [],
        description="X25519 public keys that backups are encrypted to, 32 bytes in base64, comma separated. Without a master key the server cannot read its own backups.",
    )
    backup_every: timedelta = Field(
        timedelta(hours=6), description="Time between backup increments, in seconds or as PT6H."
    )
    backup_pace: float = Field(
        0.1,
        gt=0,
        le=1,
        description="The share of its time that a backup by schedule works, for its first quarter of an hour; 1 is always.",
    )
    backup_database_url: SecretStr | None = Field(
        None,
        description="A role with BYPASSRLS and pg_read_all_data that reads backups. Default: DATABASE_URL, whose policies are checked.",
    )
    backup_drill_url: SecretStr | None = Field(
        None,
        description="A role that may make databases, on the server where restores are proven. Default: DATABASE_URL.",
    )
    backup_mib_per_second: float = Field(
        0, ge=0, description="The most that backups send to S3 in a second; 0 is no limit."
    )
    backup_lock_days: int = Field(
        35,
        ge=1,
        description="Days that a bucket with object lock keeps what a backup needs, renewed while it is needed.",
    )
    vault_items: int = Field(
        20_000, ge=1, description="Items that one person may keep in vaults, trash included."
    )
    prelogin_blind_percent: int | None = Field(
        None,
        ge=0,
        le=100,
        description="How many of a hundred addresses without an account are said to sign in blind. Default: as many as accounts do.",
    )
    passkey_domain: str = Field(
        "", description="Relying party id of passkeys: APP_HOST, or the domain it shares with the front ends."
    )
    admin_login_attempts: int = Field(
        10, ge=1, description="Tries a minute at the admin sign-in form from one client network."
    )

    @field_validator(
        "cors_origins",
        "secret_key_fallbacks",
        "jwt_keys",
        "audit_keys",
        "backup_keys",
        "backup_recipients",
        mode="before",
    )
    @classmethod
    def split(cls, value: Any) -> Any:
        return (
            [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
        )

    @field_validator("oidc_providers", mode="before")
    @classmethod
    def known_providers(cls, value: Any) -> Any:
        return parse_providers(value)

    @field_validator("cors_origins")
    @classmethod
    def exact_origins(cls, value: list[str]) -> list[str]:
        if wrong := [origin for origin in value if not ORIGIN.match(origin)]:
            raise ValueError(f"not an exact origin such as https://app.example.com: {', '.join(wrong)}")
        return value

    @field_validator("jwt_keys")
    @classmethod
    def strong_keys(cls, value: list[str]) -> list[str]:
        found = [JWT_KEY_PATTERN.match(item) for item in value]
        if not all(found):
            raise ValueError(
                "each must be kid:key or kid@YYYYMMDDTHHMMSSZ:key with a key of at least 43 characters"
            )
        if any(not _is_time(match["starts"]) for match in found if match and match["starts"]):
            raise ValueError("a key starts at a time that there is not")
        if len({match["kid"] for match in found if match}) != len(value):
            raise ValueError("two keys share a kid")
        if any(len(set(match["key"])) < 10 for match in found if match):
            raise ValueError("a key has fewer than 10 different characters")
        return value

    @field_validator("mail_url")
    @classmethod
    def known_transport(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if not (parts.scheme == "file" and parts.path) and not (
            parts.scheme in {"smtp", "smtps"} and parts.hostname
        ):
            raise ValueError(
                "must be smtps://user:password@host:465, smtp://user:password@host:587 or file:///folder"
            )
        return value

    @field_validator("front_end_url")
    @classmethod
    def without_slash(cls, value: str) -> str:
        if value and not re.match(r"^https?://[^\s?#]+$", value):
            raise ValueError("must be an address such as https://app.example.com")
        return value.rstrip("/")

    @field_validator("audit_keys")
    @classmethod
    def ed25519_seeds(cls, value: list[str]) -> list[str]:
        if not all(SEED.match(item) for item in value) or len({item.split(":")[0] for item in value}) != len(
            value
        ):
            raise ValueError("each must be kid:seed with a seed of 32 bytes in base64, and no kid twice")
        return value

    @field_validator("backup_keys", "backup_recipients")
    @classmethod
    def keys_of_backups(cls, value: list[str]) -> list[str]:
        if not all(BACKUP_KEY.match(item) for item in value):
            raise ValueError("each must be 32 bytes in base64, as `manage.py backup_keys new` prints them")
        return value

    @field_validator("backup_every")
    @classmethod
    def not_all_the_time(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=5) <= value <= timedelta(days=7):
            raise ValueError("must be between 5 minutes and 7 days")
        return value

    @field_validator("object_store_url", "backup_store_url")
    @classmethod
    def known_store(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("file:///", "s3://")):
            raise ValueError("must be file:///folder or s3://bucket/prefix")
        return value

    @field_validator("app_host", "sites_domain")
    @classmethod
    def host_name(cls, value: str) -> str:
        if not HOST_NAME.match(value.lower()):
            raise ValueError("must be a host name without scheme or port")
        return value.lower()

    @field_validator("secret_key")
    @classmethod
    def unguessable(cls, value: SecretStr) -> SecretStr:
        if len(set(value.get_secret_value())) < 10:
            raise ValueError("has fewer than 10 different characters")
        return value

    @field_validator("secret_key_fallbacks")
    @classmethod
    def once_good(cls, value: list[str]) -> list[str]:
        if any(len(key) < 50 or len(set(key)) < 10 for key in value):
            raise ValueError("each must be as strong as SECRET_KEY: 50 characters, 10 different ones")
        return value

    @field_validator(
        "database_url", "redis_url", "cache_redis_url", "backup_database_url", "backup_drill_url"
    )
    @classmethod
    def server_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        database = "redis" not in str(info.field_name)
        schemes = {"postgresql", "postgres"} if database else {"redis", "rediss"}
        try:
            parts = urlsplit(value.get_secret_value())
            sound = parts.scheme in schemes and parts.hostname and (parts.port or 1) > 0
        except ValueError:
            sound = False
        if not sound or (database and not parts.path.strip("/")):
            raise ValueError(
                f"must be {sorted(schemes)[-1]}://... with a host"
                + ("" if "redis" in schemes else " and a database name")
            )
        return value

    @property
    def debug(self) -> bool:
        return self.environment == "development"


def load() -> Environment:
    """The environment of this process. Raises EnvironmentInvalid naming every fault."""
    development = (os.environ.get("ENVIRONMENT") or "development") == "development"
    faults = [] if development else list(_production_faults())
    try:
        env = Environment(
            **(defaults.development_defaults(BASE_DIR) if development else defaults.PRODUCTION_DEFAULTS)
        )
    except ValidationError as error:
        raise EnvironmentInvalid(faults + [_fault(detail) for detail in error.errors()]) from None
    if faults:
        raise EnvironmentInvalid(faults)
    if env.cache_redis_url is None:
        beside = urlsplit(env.redis_url.get_secret_value())._replace(path="/1").geturl()
        env = env.model_copy(update={"cache_redis_url": SecretStr(beside)})
    return env


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, JWT_KEY_TIME_FORMAT)  # noqa: DTZ007 - the form says UTC
    except ValueError:
        return False
    return True


def _fault(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"]).upper()
    if detail["type"] == "missing":
        return f"{name} is missing: {Environment.model_fields[detail['loc'][0]].description}"
    return f"{name}: {detail['msg'].removeprefix('Value error, ')}"


def _production_faults() -> Iterator[str]:
    """What only production refuses."""
    for name in ("APP_HOST", "SITES_DOMAIN"):
        if not os.environ.get(name):
            yield f"{name} is missing: {Environment.model_fields[name.lower()].description}"
    app = os.environ.get("APP_HOST", "").lower()
    domain = os.environ.get("SITES_DOMAIN", "").lower()
    if app and domain and registrable_domain(app) == registrable_domain(domain):
        yield f"SITES_DOMAIN shares the registrable domain {registrable_domain(app)} with APP_HOST: a published site could reach its cookies"
    if not any(os.environ.get(name) for name in ("BACKUP_KEYS", "BACKUP_KEYS_FILE", "BACKUP_RECIPIENTS")):
        yield "BACKUP_KEYS, BACKUP_KEYS_FILE or BACKUP_RECIPIENTS is needed: backups are never written in the clear"
    if os.environ.get("MAIL_URL", "").startswith("file:"):
        yield "MAIL_URL must be smtps:// or smtp:// in production: nobody would get a mail"
    origins = (origin.strip() for origin in os.environ.get("CORS_ORIGINS", "").split(","))
    if '"http://' in os.environ.get("OIDC_PROVIDERS", ""):
        yield "OIDC_PROVIDERS must be https in production"
    if wrong := [origin for origin in origins if origin.startswith("http://")]:
        yield f"CORS_ORIGINS must be https in production: {', '.join(wrong)}"


def registrable_domain(host: str) -> str:
    """The domain one registers: `www.example.co.uk` -> `example.co.uk`.

    An address or a bare name is its own.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return PublicSuffixList().privatesuffix(host) or host
