"""Log lines: an event and its fields, as JSON. What may be secret is blanked by the name of its key."""

import logging
import logging.config
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

SECRET = re.compile(
    r"password|secret|token|authorization|cookie|api_?key|email|ciphertext|envelope|recovery|otp", re.I
)
BEARER = re.compile(r"(?i)bearer\s+[\w.~+/=-]+|eyJ[\w-]+\.[\w-]+\.[\w-]+|://[^/\s:@]*:[^/\s@]+@")
REDACTED = "[redacted]"


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank the values of telling keys, at any depth, and credentials inside text."""
    for key, value in event.items():
        event[key] = REDACTED if SECRET.search(key) else _clean(value)
    return event


def redact_text(text: str) -> str:
    """Text without NUL and without credentials that stand in it."""
    return BEARER.sub(REDACTED, text).replace("\x00", "")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return BEARER.sub(REDACTED, value)
    if isinstance(value, dict):
        return {
            key: REDACTED if isinstance(key, str) and SECRET.search(key) else _clean(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def configure(options: dict[str, str]) -> None:
    """Django calls this with settings.LOGGING: `level`, and `format` json or console."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    last: Any = (
        structlog.processors.JSONRenderer()
        if options["format"] == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
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
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"structured": formatter},
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "formatter": "structured",
                    "stream": "ext://sys.stdout",
                }
            },
            "root": {"handlers": ["stdout"], "level": options["level"]},
            "loggers": {
                "django.request": {"level": "ERROR"},  # RequestMiddleware has a line for each request
                "django.security.DisallowedHost": {"level": "CRITICAL"},
                "celery": {"level": "WARNING" if options["level"] == "INFO" else options["level"]},
            },
        }
    )
