"""The logging configuration: JSON lines of an event and its fields, with secrets removed.

A value is removed when the name of its key suggests a secret, or when the value looks like a credential.
"""

import logging
import logging.config
import re
import threading
import time
from collections import OrderedDict
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from django.http import HttpRequest

from core.observability.route_names import route_name

SECRET_KEY_PATTERN = re.compile(
    r"password|secret|token|authorization|cookie|api_?key|email|ciphertext|envelope|recovery|otp", re.I
)
CREDENTIAL_PATTERN = re.compile(
    r"""(?ix)
    bearer\s+[\w.~+/=-]+
    | eyJ[\w-]+\.[\w-]+\.[\w-]+                      # a JWT
    | ://[^/\s:@]*:[^/\s@]+@                           # the user and password of a URL
    | gys_[a-z]+_\w+                                  # an API key
    | [0-9a-f-]{36}\.\d+\.[\w-]{20,}                  # a refresh token
    | (?<=[?&])(?:code|state|token|key|ticket)=[^&\s"']+  # of a query string, such as that of OpenID Connect
    """
)
REDACTED = "[redacted]"
_json_handler: Any = None  # the handler of standard output, if it writes JSON
# A warning or error that repeats within this time is counted instead of logged.
REPEAT_SECONDS = 60.0
MAX_REMEMBERED_FAILURES = 1000
# Ids, numbers and addresses, in which two lines about the same failure may differ.
VARYING_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|\d+")


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove secrets from an event: a processor of structlog. Works at any depth of nested values."""
    for key, value in event.items():
        event[key] = REDACTED if SECRET_KEY_PATTERN.search(key) else _redact_value(value)
    return event


class RequestPathFilter(logging.Filter):
    """Replaces the path of a request by its route, because a path can hold a token.

    Django puts the request into the records of `django.request` and `django.security`. For handlers, because
    a filter of a logger does not see the records of the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        request = record.__dict__.pop("request", None)
        if isinstance(request, HttpRequest):
            route = route_name(request)
            text = record.getMessage()
            for path in (request.get_full_path(), request.path):
                if path != "/":
                    text = text.replace(path, route)
            record.msg = text
            record.args = ()
            record.__dict__["route"] = route
        return True


class RepeatFilter(logging.Filter):
    """Lets a failure through once in `REPEAT_SECONDS`, and counts its repetitions.

    Two warnings or errors are about the same failure when logger, event, and the fields `error`, `kind`,
    `task`, `reason` and `detail` are equal except for numbers and ids. The number is the field `repeats`.
    """

    FIELDS = ("event", "error", "kind", "task", "reason", "detail")

    def __init__(self) -> None:
        super().__init__()
        self._seen: OrderedDict[tuple[str, ...], tuple[float | None, int]] = OrderedDict()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        message: Any = record.msg
        is_event = isinstance(message, dict)  # of structlog; else of another library
        fields: dict[str, Any] = message if is_event else {"event": record.getMessage()}
        texts = [record.name, *(str(fields.get(name, "")) for name in self.FIELDS)]
        repeats = self._count(tuple(VARYING_TEXT.sub("#", text[:300]) for text in texts))
        if repeats:
            (fields if is_event else record.__dict__)["repeats"] = repeats
        return repeats is not None

    def _count(self, key: tuple[str, ...]) -> int | None:
        """Return how many equal lines were dropped before this one, or None when this one is dropped."""
        now = time.monotonic()
        with self._lock:
            logged_at, dropped = self._seen.get(key, (None, 0))
            if logged_at is not None and now - logged_at < REPEAT_SECONDS:
                self._seen[key] = (logged_at, dropped + 1)
                return None
            self._seen[key] = (now, 0)
            self._seen.move_to_end(key)
            while len(self._seen) > MAX_REMEMBERED_FAILURES:
                self._seen.popitem(last=False)
        return dropped


def log_information(logger: str, event: str, **fields: Any) -> None:
    """Log a line of the level `info` whose fields cannot hold a secret.

    For lines that each request logs: with the format `json` it takes a tenth of the time of structlog, which
    searches every value for credentials. It writes the same line to the same stream.
    """
    handler = _json_handler
    if handler is None:
        structlog.get_logger(logger).info(event, **fields)
        return
    if not logging.getLogger(logger).isEnabledFor(logging.INFO):
        return
    timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    context = structlog.contextvars.get_contextvars()
    line = orjson.dumps(
        {**fields, **context, "event": event, "logger": logger, "level": "info", "timestamp": timestamp}
    )
    try:
        with handler.lock:
            handler.stream.write(f"{line.decode()}\n")
            handler.stream.flush()
    except (OSError, ValueError):
        return  # a log that cannot be written ends no request


def redact_text(text: str) -> str:
    """Return `text` without NUL characters and with credentials replaced."""
    return CREDENTIAL_PATTERN.sub(REDACTED, text).replace("\x00", "")


def _redact_value(value: Any) -> Any:
    if isinstance(value, str):
        return CREDENTIAL_PATTERN.sub(REDACTED, value)
    if isinstance(value, dict):
        return {
            key: REDACTED if isinstance(key, str) and SECRET_KEY_PATTERN.search(key) else _redact_value(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact_value(item) for item in value]
    return value


def configure(options: dict[str, str]) -> None:
    """Configure logging.

    Django calls this with `settings.LOGGING`, which has the keys `level` and `format` (`json` or `console`).
    """
    global _json_handler
    writes_json = options["format"] == "json"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if writes_json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": shared,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"structured": formatter},
            "filters": {"request_path": {"()": RequestPathFilter}, "repeats": {"()": RepeatFilter}},
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "formatter": "structured",
                    "filters": ["request_path", "repeats"],
                    "stream": "ext://sys.stdout",
                }
            },
            "root": {"handlers": ["stdout"], "level": options["level"]},
            "loggers": {
                "django.request": {"level": "ERROR"},  # RequestLogMiddleware logs each request
                "django.security.DisallowedHost": {"level": "CRITICAL"},
                "celery": {"level": "WARNING" if options["level"] == "INFO" else options["level"]},
            },
        }
    )
    _json_handler = logging.getLogger().handlers[0] if writes_json else None
