"""No log line holds the token of a path or a query, whatever the answer is."""

import json
import logging

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, get_resolver

from audit import server_log

CANARY = "canary0Token1of2a3Path"


def token_patterns(patterns, prefix=""):
    """The URL patterns with a parameter for a token, and their paths with the canary in it."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            if "token" in pattern.pattern.converters:
                yield pattern, path.replace("<str:token>", CANARY).replace("<token>", CANARY)
        else:
            yield from token_patterns(pattern.url_patterns, path)


TOKEN_PATTERNS = list(token_patterns(get_resolver().url_patterns))


def raise_error(*arguments, **parameters):
    raise RuntimeError("broken")


def test_token_patterns_are_found():
    assert len(TOKEN_PATTERNS) >= 1


@pytest.mark.django_db
@pytest.mark.parametrize(("pattern", "path"), TOKEN_PATTERNS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize(
    "view", [lambda *a, **k: HttpResponse(status=503), raise_error], ids=["503", "raises"]
)
def test_log_lines_have_the_route_in_place_of_the_path(pattern, path, view, monkeypatch, log_lines):
    handler = server_log.DatabaseHandler()
    monkeypatch.setattr(handler, "_write", lambda: None)
    logging.getLogger().addHandler(handler)
    monkeypatch.setattr(pattern, "callback", view)
    try:
        response = Client(raise_request_exception=False).get(f"/{path}?code={CANARY}&state={CANARY}")
    finally:
        logging.getLogger().removeHandler(handler)

    rows = [handler.lines.get_nowait() for _ in range(handler.lines.qsize())]
    assert response.status_code >= 500
    assert [line for line in log_lines() if line["logger"] == "django.request"], "Django logged the error"
    assert rows
    assert CANARY not in json.dumps(log_lines()) + str(rows)


@pytest.mark.django_db
def test_a_root_path_does_not_change_the_rest_of_a_line(log_lines):
    request = RequestFactory().get("/")
    logging.getLogger("django.request").error("Bad and/or late: %s", "/", extra={"request": request})

    assert [line["event"] for line in log_lines()] == ["Bad and/or late: /"]
