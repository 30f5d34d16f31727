"""The typed environment: every variable with its type, its default and its meaning.

`load()` reads it. When variables are missing or invalid, it names all of them in one message and stops the
process. The rules for single values are in `config.env_validators`.
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as Source

from config import defaults
from config import env_validators as validators
from config.oidc_providers import Provider, parse_providers

BASE_DIR = Path(__file__).resolve().parent.parent

CommaList = Annotated[list[str], NoDecode, BeforeValidator(validators.split_at_commas)]
NonEmptyCommaList = Annotated[
    list[str], Field(min_length=1), NoDecode, BeforeValidator(validators.split_at_commas)
]
SecretKey = Annotated[
    SecretStr,
    Field(min_length=validators.MIN_SECRET_KEY_CHARACTERS),
    AfterValidator(validators.validate_secret_key),
]
SecretKeyFallbacks = Annotated[CommaList, AfterValidator(validators.validate_secret_key_fallbacks)]
JwtKeys = Annotated[NonEmptyCommaList, AfterValidator(validators.validate_jwt_keys)]
AuditKeys = Annotated[NonEmptyCommaList, AfterValidator(validators.validate_audit_keys)]
BackupKeys = Annotated[CommaList, AfterValidator(validators.validate_backup_keys)]
CorsOrigins = Annotated[CommaList, AfterValidator(validators.validate_cors_origins)]
HostName = Annotated[str, AfterValidator(validators.validate_host_name)]
PostgresUrl = Annotated[SecretStr, AfterValidator(validators.validate_postgres_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(validators.validate_redis_url)]
ObjectStoreUrl = Annotated[SecretStr, AfterValidator(validators.validate_object_store_url)]
MailUrl = Annotated[SecretStr, AfterValidator(validators.validate_mail_url)]
AllowedNetworks = Annotated[CommaList, AfterValidator(validators.validate_networks)]
FrontEndUrl = Annotated[str, AfterValidator(validators.validate_front_end_url)]
BackupInterval = Annotated[timedelta, AfterValidator(validators.validate_backup_interval)]
OidcProviders = Annotated[dict[str, Provider], NoDecode, BeforeValidator(parse_providers)]


class EnvironmentInvalid(SystemExit):
    """Stops the process with exit code 1. The message names every variable that is missing or invalid."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            "The environment is not valid:\n" + "\n".join(f"  {problem}" for problem in sorted(problems))
        )


class Environment(BaseSettings):
    """The variables, read from the environment of the process only; there is no .env file.

    In development the secrets have generated defaults, stored below VAR_DIR (`config.defaults`).
    """

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True, env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: Source, env_settings: Source, **others: Source
    ) -> tuple[Source, ...]:
        """Use the process environment first, then the defaults that `load` passes in."""
        return env_settings, init_settings

    environment: Literal["development", "production"] = Field(
        "development",
        description="development allows cookies over HTTP and generates its own secrets.",
    )
    secret_key: SecretKey = Field(
        description="Signs admin cookies and links. Rotate with SECRET_KEY_FALLBACKS.",
    )
    secret_key_fallbacks: SecretKeyFallbacks = Field(
        [],
        description="Older values of SECRET_KEY, comma separated.",
    )
    jwt_keys: JwtKeys = Field(
        description=(
            "kid:key or kid@20270131T120000Z:key, comma separated. All verify. The key with the latest start "
            "time that has passed signs, else the first. Each key has at least 43 characters."
        ),
    )
    audit_keys: AuditKeys = Field(
        description=(
            "kid:seed, comma separated; Ed25519 seeds of 32 bytes in base64. The first signs checkpoints, "
            "all verify."
        ),
    )
    object_store_url: ObjectStoreUrl = Field(
        description=(
            "Where checkpoints of the audit trail and data exports are stored: file:///folder or "
            "s3://key:secret@bucket/prefix?endpoint=&region=."
        ),
    )
    database_url: PostgresUrl = Field(
        description="postgresql://role:password@host:port/name; a role without SUPERUSER and BYPASSRLS.",
    )
    redis_url: RedisUrl = Field(
        description=(
            "redis://:password@host:port/0 for rate limits, revocations, streams and Celery. Its "
            "maxmemory-policy must be noeviction."
        ),
    )
    cache_redis_url: RedisUrl | None = Field(
        None,
        description="Redis for the cache; it may evict. Default: database 1 of the server of REDIS_URL.",
    )
    redis_patched_by_vendor: bool = Field(
        False,
        description=(
            "true: the vendor of the Redis package has corrected CVE-2025-49844 under an older version "
            "number, as Debian does. Without it such a version is refused in production."
        ),
    )
    app_host: HostName = Field("localhost", description="Host name of the API and the admin.")
    sites_domain: HostName = Field(
        "localhost",
        description="Published sites are at <subdomain>.SITES_DOMAIN.",
    )
    sites_scheme: Literal["http", "https"] | None = Field(
        None,
        description="Scheme of published sites. https in production.",
    )
    sites_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port in addresses of published sites. In production the addresses have no port.",
    )
    cors_origins: CorsOrigins = Field([], description="Exact origins of front ends, comma separated.")
    host: str = Field("127.0.0.1", description="Address that the public listener binds.")
    port: int = Field(8000, ge=1, le=65535, description="Port of the public listener.")
    internal_host: str = Field(
        "127.0.0.1",
        description="Address that the internal listener binds: /metrics, /health/* and /internal/*.",
    )
    internal_port: int = Field(8001, ge=1, le=65535, description="Port of the internal listener.")
    var_dir: Path = Field(BASE_DIR / "var", description="Folder for the files of this installation.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO",
        description="Lowest level that is logged.",
    )
    log_format: Literal["json", "console"] | None = Field(
        None,
        description="json in production, console in development.",
    )
    process: Literal["web", "worker", "beat", "command"] = Field(
        "command",
        description="Kind of this process; set by `manage.py serve` and `up`.",
    )
    web_workers: int = Field(2, ge=1, le=64, description="Number of web processes.")
    web_threads: int = Field(
        4,
        ge=1,
        le=64,
        description="Number of threads, and of database connections, in a web process.",
    )
    hash_concurrency: int = Field(
        os.cpu_count() or 1,
        ge=1,
        description="Password hashes computed at the same time in a process; each needs 64 MiB.",
    )
    trusted_proxy_count: int = Field(
        0,
        ge=0,
        le=10,
        description="Number of our own proxies that append to X-Forwarded-For.",
    )
    rate_limit: int = Field(
        100,
        ge=1,
        description="API requests a minute for each user or client network; also the largest burst.",
    )
    page_cache_mib: int = Field(64, ge=1, description="MiB of memory for rendered pages in a web process.")
    drain_seconds: float = Field(
        0,
        ge=0,
        le=60,
        description="Seconds between failing readiness and closing the listener.",
    )
    mail_url: MailUrl = Field(
        description=(
            "smtps://user:password@host:465, smtp://user:password@host:587 (STARTTLS), or file:///folder."
        ),
    )
    mail_from: str = Field("", description="From address of our mails. Default: no-reply@APP_HOST.")
    front_end_url: FrontEndUrl = Field(
        "",
        description=(
            "Where links in mails lead: <FRONT_END_URL>/verify-email#<token>, /reset-password#<token>, "
            "/invitation#<token>, /data-export#<token>, /sites/<id>, /oidc/<provider>, "
            "/restore-account#<token>, /impersonate#<token>. Default: our own pages."
        ),
    )
    accounts_email_verification: Literal["required", "optional"] = Field(
        "optional",
        description=(
            "required: an account is created when its address is confirmed. Default in production: required."
        ),
    )
    staff_mfa: Literal["required", "optional"] = Field(
        "optional",
        description="Whether the admin requires a second factor. Default in production: required.",
    )
    oidc_providers: OidcProviders = Field(
        {},
        description=(
            'Sign-in providers, as JSON: {"google": {"client_id": "...", "client_secret": "..."}}; '
            "see docs/accounts.md."
        ),
    )
    owner_quota_mib: int = Field(500, ge=1, description="MiB that one user may store in sites and vaults.")
    export_max_mib: int = Field(
        2048, ge=1, description="MiB of the largest archive of personal data; a larger export fails."
    )
    outbound_allowed_networks: AllowedNetworks = Field(
        [],
        description=(
            "Private networks, as 10.0.0.0/8, comma separated, to which requests to sign-in providers may go."
            " Default in development: loopback."
        ),
    )
    vault_mib: int = Field(
        100,
        ge=1,
        description="MiB of ciphertext that the vaults of one user may hold, history and trash included.",
    )
    geoip_path: str = Field(
        "",
        description=(
            "A file in MaxMind's format (GeoLite2 City, DB-IP). Without one the countries of visits are "
            "unknown."
        ),
    )
    analytics_keep_days: int = Field(
        760,
        ge=1,
        description="Days that events of visits are kept. Aggregated numbers are kept without limit.",
    )
    backup_store_url: ObjectStoreUrl = Field(
        description=(
            "Where backups are stored: file:///folder or s3://key:secret@bucket/prefix?endpoint=&region=, "
            "another place than OBJECT_STORE_URL."
        ),
    )
    backup_s3_region: str = Field(
        "",
        description="Region of the bucket for backups, in place of the one in BACKUP_STORE_URL.",
    )
    backup_keys: BackupKeys = Field(
        [],
        description=(
            "Master keys of backups, 32 bytes in base64, comma separated. The first encrypts, all decrypt."
        ),
    )
    backup_keys_file: str = Field(
        "",
        description="A file with one master key a line, in place of BACKUP_KEYS.",
    )
    backup_recipients: BackupKeys = Field(
        [],
        description=(
            "X25519 public keys that backups are encrypted to, 32 bytes in base64, comma separated. Without "
            "a master key the server cannot read its own backups."
        ),
    )
    backup_every: BackupInterval = Field(
        timedelta(hours=6),
        description="Time between incremental backups, in seconds or as PT6H.",
    )
    backup_pace: float = Field(
        0.1,
        gt=0,
        le=1,
        description=(
            "Share of the time that a scheduled backup works in its first 15 minutes; 1 means without pauses."
        ),
    )
    backup_database_url: PostgresUrl | None = Field(
        None,
        description=(
            "A role with BYPASSRLS and pg_read_all_data that reads backups. Default: DATABASE_URL, whose "
            "policies are checked."
        ),
    )
    backup_drill_database_url: PostgresUrl | None = Field(
        None,
        description=(
            "Where backups are restored to prove them. The role creates a database on that server if it has "
            "CREATEDB; otherwise this database is used, which must be empty. Default: DATABASE_URL."
        ),
    )
    backup_compression: Literal["zstd", "gzip"] = Field(
        "zstd", description="How new backups are compressed. Both can always be restored."
    )
    pg_dump_dir: Path | None = Field(
        None,
        description=(
            "The folder with the programs pg_dump and pg_restore, of the server's version or newer. "
            "Default: the folders in PATH."
        ),
    )
    backup_mib_per_second: float = Field(
        0,
        ge=0,
        description="Largest rate at which backups upload to S3, in MiB a second; 0 means no limit.",
    )
    backup_lock_days: int = Field(
        35,
        ge=1,
        description=(
            "Days that a bucket with object lock retains the objects of a backup, renewed while they are "
            "needed."
        ),
    )
    vault_items: int = Field(
        20_000,
        ge=1,
        description="Number of items that one user may keep in vaults, trash included.",
    )
    prelogin_blind_percent: int | None = Field(
        None,
        ge=0,
        le=100,
        description=(
            "Percentage of the addresses without an account that prelogin answers as if they had a "
            "zero-knowledge password. Default: the percentage among the accounts."
        ),
    )
    passkey_domain: str = Field(
        "",
        description="Relying party id of passkeys: APP_HOST, or the domain it shares with the front ends.",
    )
    admin_login_attempts: int = Field(
        10,
        ge=1,
        description="Sign-in attempts a minute from one client network at the admin.",
    )

    @property
    def debug(self) -> bool:
        return self.environment == "development"


def load() -> Environment:
    """Return the environment of this process. Raises EnvironmentInvalid, which names every problem."""
    development = (os.environ.get("ENVIRONMENT") or "development") == "development"
    problems = [] if development else list(_production_problems())
    default_values = defaults.development_defaults(BASE_DIR) if development else defaults.PRODUCTION_DEFAULTS
    try:
        env = Environment(**default_values)
    except ValidationError as error:
        raise EnvironmentInvalid(problems + [_describe(detail) for detail in error.errors()]) from None
    if problems:
        raise EnvironmentInvalid(problems)
    if env.cache_redis_url is None:
        database_1 = urlsplit(env.redis_url.get_secret_value())._replace(path="/1").geturl()
        env = env.model_copy(update={"cache_redis_url": SecretStr(database_1)})
    return env


def _describe(detail: Any) -> str:
    """Return one line for a pydantic error: the name of the variable, and what is wrong with its value."""
    name = ".".join(str(part) for part in detail["loc"]).upper()
    if detail["type"] == "missing":
        return f"{name} is missing: {Environment.model_fields[detail['loc'][0]].description}"
    return f"{name}: {detail['msg'].removeprefix('Value error, ')}"


def _production_problems() -> Iterator[str]:
    """Yield what is allowed in development and not in production, and what concerns two variables."""
    for name in ("APP_HOST", "SITES_DOMAIN"):
        if not os.environ.get(name):
            yield f"{name} is missing: {Environment.model_fields[name.lower()].description}"
    app = os.environ.get("APP_HOST", "").lower()
    domain = os.environ.get("SITES_DOMAIN", "").lower()
    if app and domain and validators.registrable_domain(app) == validators.registrable_domain(domain):
        yield (
            f"SITES_DOMAIN shares the registrable domain {validators.registrable_domain(app)} with APP_HOST: "
            "a published site could read or set its cookies"
        )
    if not any(os.environ.get(name) for name in ("BACKUP_KEYS", "BACKUP_KEYS_FILE", "BACKUP_RECIPIENTS")):
        yield (
            "BACKUP_KEYS, BACKUP_KEYS_FILE or BACKUP_RECIPIENTS is needed: backups are never written "
            "without encryption"
        )
    if os.environ.get("MAIL_URL", "").startswith("file:"):
        yield "MAIL_URL must be smtps:// or smtp:// in production: file:// does not send mail"
    if '"http://' in os.environ.get("OIDC_PROVIDERS", ""):
        yield "OIDC_PROVIDERS must be https in production"
    origins = [origin.strip() for origin in os.environ.get("CORS_ORIGINS", "").split(",")]
    if insecure := [origin for origin in origins if origin.startswith("http://")]:
        yield f"CORS_ORIGINS must be https in production: {', '.join(insecure)}"
