import json
import logging

import pytest
import structlog

from core.observability import structured_logging

CANARY = "hunter2-canary"


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
        {"path": f"/auth/callback?code={CANARY}&state=x"},
        {"text": f"01a22f01-7eb0-742d-92dc-3877cec1b9bd.3.{'x' * 20}{CANARY}"},
    ],
)
def test_redact_removes_secrets_at_any_depth(log_lines, fields):
    structlog.get_logger("x").info("something_happened", **fields)
    logging.getLogger("django").warning("value: %s", fields.get("note", "Bearer " + CANARY))

    assert len(log_lines()) == 2
    assert CANARY not in json.dumps(log_lines())


def test_redact_text_removes_an_api_key():
    assert (
        structured_logging.redact_text("with gys_live_abcdefgh_ABC123 and more") == "with [redacted] and more"
    )


def test_configure_writes_one_json_object_a_line_even_with_line_breaks_in_a_value(log_lines):
    structlog.get_logger("x").info("odd", path="/a\r\n{}\x1b[31m")

    assert [(line["event"], line["path"], line["level"]) for line in log_lines()] == [
        ("odd", "/a\r\n{}\x1b[31m", "info")
    ]


def test_redact_removes_secrets_from_a_traceback(log_lines):
    try:
        raise RuntimeError(f"no response from redis://:{CANARY}@127.0.0.1/0 with Bearer {CANARY}")
    except RuntimeError:
        structlog.get_logger("x").exception("something_broke")
        logging.getLogger("django").exception("also here")

    assert ["RuntimeError" in line["exception"] for line in log_lines()] == [True, True]
    assert CANARY not in json.dumps(log_lines())
