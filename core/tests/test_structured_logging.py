import io
import json
import logging

import pytest
import structlog
from django.test import Client

from core.observability import structured_logging

CANARY = "hunter2-canary"


@pytest.fixture
def lines(settings):
    """Return a function that returns what was logged during the test, as parsed JSON lines."""
    structured_logging.configure({"level": "INFO", "format": "json"})
    stream = io.StringIO()
    handler = logging.getLogger().handlers[0]
    handler.setStream(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structured_logging.configure(settings.LOGGING)


@pytest.mark.parametrize(
    "fields",
    [
        {"password": CANARY},
        {"new_password": CANARY},
        {"refresh_token": CANARY},
        {"headers": {"Authorization": CANARY, "Cookie": CANARY}},
        {"items": [{"api_key": CANARY}]},
        {"note": f"Bearer {CANARY}"},
        {"url": f"redis://:{CANARY}@127.0.0.1/0"},
        {"user_email": CANARY},
    ],
)
def test_redact_removes_secrets_at_any_depth(lines, fields):
    structlog.get_logger("x").info("something_happened", **fields)
    logging.getLogger("django").warning("value: %s", fields.get("note", "Bearer " + CANARY))

    assert len(lines()) == 2
    assert CANARY not in json.dumps(lines())


def test_configure_writes_one_json_object_a_line_even_with_line_breaks_in_a_value(lines):
    structlog.get_logger("x").info("odd", path="/a\r\n{}\x1b[31m")

    assert [(line["event"], line["path"], line["level"]) for line in lines()] == [
        ("odd", "/a\r\n{}\x1b[31m", "info")
    ]


@pytest.mark.django_db
def test_request_log_middleware_logs_one_line_with_the_request_id_and_no_secret(lines):
    response = Client().post(
        "/api/v1/auth/login",
        {"email": f"{CANARY}@example.com", "password": CANARY},
        content_type="application/json",
        headers={"X-Request-ID": "my-request-1", "Authorization": f"Bearer {CANARY}"},
    )

    (line,) = [line for line in lines() if line["event"] == "request_finished"]
    assert (response["X-Request-ID"], line["request_id"], line["route"], line["status"]) == (
        "my-request-1",
        "my-request-1",
        "api/v1/auth/login",
        401,
    )
    assert CANARY not in json.dumps(lines())


@pytest.mark.parametrize("request_id", ["", "short", "x" * 65, "a b c d e f", "evil\r\nX: y", "<script>xx"])
def test_request_log_middleware_replaces_an_invalid_request_id(request_id):
    response = Client().get("/health", headers={"X-Request-ID": request_id})

    assert response["X-Request-ID"] != request_id
    assert len(response["X-Request-ID"]) == 32


def test_redact_removes_secrets_from_a_traceback(lines):
    try:
        raise RuntimeError(f"no response from redis://:{CANARY}@127.0.0.1/0 with Bearer {CANARY}")
    except RuntimeError:
        structlog.get_logger("x").exception("something_broke")
        logging.getLogger("django").exception("also here")

    assert ["RuntimeError" in line["exception"] for line in lines()] == [True, True]
    assert CANARY not in json.dumps(lines())
