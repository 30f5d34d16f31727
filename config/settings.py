"""Django's settings, wired from the typed environment in `config.env`."""

import ipaddress
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from config import periodic_tasks
from config.env import BASE_DIR, load
from core.storage.postgresql.deadlines import (
    POOL_SECONDS,
    WEB_STATEMENT_SECONDS,
    WebConnection,
    reset_connection,
)

ENV = load()
VERSION = (BASE_DIR / "VERSION").read_text().strip()

SECRET_KEY = ENV.secret_key.get_secret_value()
SECRET_KEY_FALLBACKS = ENV.secret_key_fallbacks
DEBUG = False  # also in development, because its error pages show settings
DEVELOPMENT = ENV.debug  # allows what a browser on localhost needs, such as cookies over HTTP
VAR_DIR = ENV.var_dir

APP_HOST = ENV.app_host
SITES_DOMAIN = ENV.sites_domain
SITES_SCHEME = ENV.sites_scheme or "https"
SITES_PORT = ENV.sites_port
LOOPBACK_HOSTS = ["127.0.0.1", "[::1]"]
ALLOWED_HOSTS = [APP_HOST, *(LOOPBACK_HOSTS if DEVELOPMENT else [])]
APP_ORIGINS = {f"https://{APP_HOST}"} | (
    {f"http://{host}:{ENV.port}" for host in [*LOOPBACK_HOSTS, APP_HOST]} if DEVELOPMENT else set()
)
TRUSTED_PROXY_COUNT = ENV.trusted_proxy_count

INSTALLED_APPS = [
    "core",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "audit",
    "accounts",
    "sites",
    "vault",
    "analytics",
    "backups",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "config.apps.AdminConfig",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "core.observability.request_log.RequestLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "core.http.security_headers.ContentSecurityPolicyMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    # core.admission.api_server takes the headers of its answers from the middleware up to admission.
    "sites.serving.public_cors.PublicCorsMiddleware",
    "core.admission.middleware.AdmissionMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "audit.middleware.OriginMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

_database = urlsplit(ENV.database_url.get_secret_value())
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "core.storage.postgresql",
        "NAME": unquote(_database.path.lstrip("/")),
        "USER": unquote(_database.username or ""),
        "PASSWORD": unquote(_database.password or ""),
        "HOST": _database.hostname,
        "PORT": _database.port or 5432,
        # True would hold a connection during every request, also when no query runs (docs/decisions/001).
        "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": False,  # core.storage.postgresql checks the connections of its pool
        "OPTIONS": {
            "connect_timeout": 2,
            "application_name": "getyousite",
            # A connection whose peer has vanished without a word is closed after these times.
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            **dict(parse_qsl(_database.query)),
        },
    }
}
if ENV.process == "web":
    # PostgreSQL enforces these while it runs, and core.storage.postgresql while it does not answer.
    DATABASES["default"]["OPTIONS"]["options"] = (
        f"-c statement_timeout={WEB_STATEMENT_SECONDS:g}s -c lock_timeout={WEB_STATEMENT_SECONDS - 1:g}s "
        "-c idle_in_transaction_session_timeout=30s"
    )
    # One connection for each thread, and 503 without a free one in time.
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "min_size": ENV.web_threads,
        "max_size": ENV.web_threads,
        "timeout": POOL_SECONDS,
        "connection_class": WebConnection,
        "reset": reset_connection,
        # The pool makes a second attempt after this time and then stops, and each request tries to connect.
        # With a third attempt it would pause for as long as a request waits, and the first request after an
        # outage would fail.
        "reconnect_timeout": 1.0,
    }

REDIS_URL = ENV.redis_url.get_secret_value()
REDIS_TIMEOUT_SECONDS = 0.25
_redis_options = {
    "SOCKET_TIMEOUT": REDIS_TIMEOUT_SECONDS,
    "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_SECONDS,
    "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
    "CONNECTION_POOL_KWARGS": {"retry": None, "health_check_interval": 0},
}
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": ENV.cache_redis_url.get_secret_value() if ENV.cache_redis_url else REDIS_URL,
        "OPTIONS": _redis_options,
        "KEY_PREFIX": "gys",
    },
    "limits": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": _redis_options,
        "KEY_PREFIX": "gys",
    },
}
RATELIMIT_USE_CACHE = "limits"
SILENCED_SYSTEM_CHECKS = [
    "security.W008",  # the proxy terminates TLS and redirects HTTP to HTTPS
    "security.W021",  # HSTS preloading affects the whole domain, so the operator decides about it
]

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.PasswordBackend"]
PASSWORD_HASHERS = ["accounts.credentials.hashing.Argon2Hasher"]
HASH_CONCURRENCY = ENV.hash_concurrency
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "accounts.credentials.password_validators.LengthValidator"},
    {"NAME": "accounts.credentials.password_validators.CommonValidator"},
    {"NAME": "accounts.credentials.password_validators.SimilarityValidator"},
]
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"  # after a sign-in without a `next`, or with one that is refused
AUDIT_KEYS = dict(item.split(":", 1) for item in ENV.audit_keys)
OBJECT_STORE_URL = ENV.object_store_url.get_secret_value()
JWT_KEYS = ENV.jwt_keys  # parsed by accounts.credentials.tokens
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "ISSUER": f"https://{APP_HOST}",
    "AUDIENCE": f"https://{APP_HOST}/api",
    "USER_ID_CLAIM": "sub",
    "UPDATE_LAST_LOGIN": False,
    "LEEWAY": timedelta(seconds=30),
}
SESSION_LIFETIME = timedelta(days=30)
SESSION_IDLE = timedelta(days=14)
REFRESH_GRACE = timedelta(seconds=10)
SOFT_DELETE_FOR = timedelta(days=30)
EMAIL_VERIFICATION_REQUIRED = ENV.accounts_email_verification == "required"
STAFF_MFA_REQUIRED = ENV.staff_mfa == "required"
PASSKEY_DOMAIN = ENV.passkey_domain or APP_HOST
GEOIP_PATH = ENV.geoip_path
ANALYTICS_KEEP_FOR = timedelta(days=ENV.analytics_keep_days)
BACKUP_STORE_URL = ENV.backup_store_url.get_secret_value()
BACKUP_S3_REGION = ENV.backup_s3_region
BACKUP_KEYS = ENV.backup_keys
BACKUP_KEYS_FILE = ENV.backup_keys_file
BACKUP_RECIPIENTS = ENV.backup_recipients
BACKUP_EVERY = ENV.backup_every
BACKUP_PACE = ENV.backup_pace
BACKUP_DATABASE_URL = ENV.backup_database_url.get_secret_value() if ENV.backup_database_url else ""
BACKUP_DRILL_DATABASE_URL = (
    ENV.backup_drill_database_url.get_secret_value() if ENV.backup_drill_database_url else ""
)
BACKUP_COMPRESSION = ENV.backup_compression
PG_DUMP_DIR = ENV.pg_dump_dir
BACKUP_BYTES_PER_SECOND = int(ENV.backup_mib_per_second * 1024 * 1024)
BACKUP_LOCK_FOR = timedelta(days=ENV.backup_lock_days)
OWNER_QUOTA_BYTES = ENV.owner_quota_mib * 1024 * 1024
EXPORT_MAX_BYTES = ENV.export_max_mib * 1024 * 1024
VAULT_BYTES = ENV.vault_mib * 1024 * 1024
VAULT_ITEMS = ENV.vault_items
PRELOGIN_BLIND_PERCENT = ENV.prelogin_blind_percent
OIDC_PROVIDERS = ENV.oidc_providers
REDIS_PATCHED_BY_VENDOR = ENV.redis_patched_by_vendor
OUTBOUND_ALLOWED_NETWORKS = [ipaddress.ip_network(network) for network in ENV.outbound_allowed_networks]
REAUTHENTICATION_AFTER = timedelta(minutes=5)

_mail = urlsplit(ENV.mail_url.get_secret_value())
MAIL_FROM = ENV.mail_from or f"Getyousite <no-reply@{APP_HOST}>"
MAIL_FOLDER = unquote(_mail.path)
EMAIL_BACKEND = (
    "core.jobs.mail.FolderBackend"
    if _mail.scheme == "file"
    else "django.core.mail.backends.smtp.EmailBackend"
)
EMAIL_USE_SSL = _mail.scheme == "smtps"
EMAIL_USE_TLS = _mail.scheme == "smtp"  # STARTTLS; mail is not sent to a server that refuses it
EMAIL_HOST = _mail.hostname or ""
EMAIL_PORT = _mail.port or (465 if EMAIL_USE_SSL else 587)
EMAIL_HOST_USER = unquote(_mail.username or "")
EMAIL_HOST_PASSWORD = unquote(_mail.password or "")
EMAIL_TIMEOUT = 10
APP_URL = f"http://{APP_HOST}:{ENV.port}" if DEVELOPMENT else f"https://{APP_HOST}"
FRONT_END_URL = ENV.front_end_url or f"{APP_URL}/account"

CORS_ALLOWED_ORIGINS = ENV.cors_origins
CORS_ALLOW_CREDENTIALS = True
# /api/v1/public/ is readable from every origin without credentials: sites.serving.public_cors.
CORS_URLS_REGEX = r"^/api/(?!v1/public/)"
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "content-type",
    "if-match",
    "if-none-match",
    "idempotency-key",
    "x-requested-with",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = [
    "etag",
    "location",
    "retry-after",
    "x-request-id",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
]

RATE_LIMIT = ENV.rate_limit
ADMIN_LOGIN_ATTEMPTS = ENV.admin_login_attempts
PAGE_CACHE_BYTES = ENV.page_cache_mib * 1024 * 1024
# The largest body limit of any route. The limit of each route is enforced by its parser.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024 + 1

SESSION_COOKIE_SECURE = not DEVELOPMENT
CSRF_COOKIE_SECURE = not DEVELOPMENT
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEVELOPMENT
SESSION_COOKIE_NAME = "admin-session" if DEVELOPMENT else "__Host-admin-session"
CSRF_COOKIE_NAME = "admin-csrf" if DEVELOPMENT else "__Host-admin-csrf"
SESSION_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = sorted(APP_ORIGINS)
SESSION_ENGINE = "accounts.session_store"
SESSION_COOKIE_AGE = 12 * 3600
SECURE_HSTS_SECONDS = 0 if DEVELOPMENT else 365 * 24 * 3600
SECURE_HSTS_PRELOAD = False
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.PrincipalAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["core.http.json_parser.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["core.http.responses.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "core.http.openapi.ProblemAutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "core.http.exceptions.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Getyousite",
    "DESCRIPTION": (
        "The API of a website-building platform. Errors are RFC 9457 problems; "
        "see docs/api.md for the contracts."
    ),
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "core.http.openapi.describe_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "SiteStatus": "sites.models.Site.Status",
        "JobState": "core.models.Job.Status",
        "SiteRole": "sites.models.Access.Role",
        "InvitedRole": "sites.serializers.members.ASSIGNABLE_ROLES",
        "BackupStatus": "backups.models.BackupJob.Status",
        "BackupKind": "backups.models.BackupRun.Kind",
        "BackupCheckKind": "backups.models.Check.Kind",
    },
}

# The command with which `manage.py up` invents visits of the demo site, once.
DEMO_VISITS_COMMAND = ("analytics_simulate", "--sites", "bakery")

CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT = "core.jobs.broker:Transport"
CELERY_WORKER_CONSUMER = "core.jobs.broker:Consumer"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_SOFT_TIME_LIMIT = 270
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 2 * CELERY_TASK_TIME_LIMIT,
    "socket_timeout": 1 if ENV.process == "web" else 5,
    "socket_connect_timeout": 1,
    # A failed publish is not retried: the job waits in its row, and the request must not wait.
    "max_retries": 0,
    "health_check_interval": 25,
    "global_keyprefix": "celery:",
}
QUEUES = periodic_tasks.QUEUES
PERIODIC_TASKS = periodic_tasks.PERIODIC_TASKS
CELERY_TASK_ROUTES = {name: {"queue": task["queue"]} for name, task in PERIODIC_TASKS.items()}
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_BEAT_SCHEDULER = "core.jobs.beat:SingleMessageScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 2
# Messages do not expire: that would compare the clocks of two machines.
CELERY_BEAT_SCHEDULE = {
    name: {"task": name, "schedule": float(min(task["seconds"], periodic_tasks.MESSAGE_SECONDS))}
    for name, task in PERIODIC_TASKS.items()
}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"  # filled by collectstatic when the image is built
if DEVELOPMENT:  # files are served from their apps; WhiteNoise warns when the folder does not exist
    STATIC_ROOT = VAR_DIR / "static"
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEVELOPMENT
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEVELOPMENT
WHITENOISE_AUTOREFRESH = False

LOG_LEVEL = ENV.log_level
LOG_FORMAT = ENV.log_format or "json"
LOGGING_CONFIG = "core.observability.structured_logging.configure"
LOGGING = {"level": LOG_LEVEL, "format": LOG_FORMAT}
