"""No log line holds the token of a path or a query, whatever the answer is."""

import json
import logging
import re
import uuid

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, get_resolver

from audit import server_log
from sites.serving import site_server
from sites.serving.page_cache import RenderFailed
from sites.tests.visitor import Visitor, publish

CANARY = "canary0Token1of2a3Path"
# What stands for a parameter of a URL pattern, by the name of its converter.
VALUES = {
    "StringConverter": CANARY,
    "SlugConverter": CANARY,
    "PathConverter": CANARY,
    "UUIDConverter": str(uuid.UUID(int=7)),
    "IntConverter": "7",
}


def url_patterns(patterns, prefix=""):
    """All URL patterns, those of the admin included, and their paths with the canary in each text."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield pattern, path
        else:
            yield from url_patterns(pattern.url_patterns, path)


def fill_in(path, converters):
    """The path with a value in place of each parameter, which stands there as `<converter:name>`."""
    path = path.replace("(?P<url>.*)$", CANARY)  # this and the next are the regular expressions of the admin
    path = re.sub(r"\^\(\?P<app_label>[^)]*\)/\$", "sites/", path)
    for name, converter in converters.items():
        start, _, rest = path.partition(f":{name}>") if f":{name}>" in path else path.partition(f"<{name}>")
        path = start.rpartition("<")[0] + VALUES[type(converter).__name__] + rest
    return path


URL_PATTERNS = list(url_patterns(get_resolver().url_patterns))


def raise_error(*arguments, **parameters):
    raise RuntimeError("broken")


@pytest.fixture
def visitor():
    """A visitor of published sites. It configures logging when it is created, so `logged` comes after it."""
    return Visitor()


@pytest.fixture
def logged(log_lines):
    """A function that returns what was logged for stdout and for the database, as text."""
    handler = server_log.DatabaseHandler()
    handler._write = lambda: None
    logging.getLogger().addHandler(handler)
    yield lambda: json.dumps(log_lines()) + str(list(handler.lines.queue))
    logging.getLogger().removeHandler(handler)


def test_url_patterns_hold_those_with_tokens():
    paths = {path for _, path in URL_PATTERNS}

    assert {"api/v1/exports/<str:token>", "shared/<str:token>", "shared/stop/<str:token>"} <= paths
    assert any(path.startswith("admin/") for path in paths)
    assert len(paths) > 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "view", [lambda *a, **k: HttpResponse(status=503), raise_error], ids=["503", "raises"]
)
def test_log_lines_have_the_route_in_place_of_the_path(view, monkeypatch, logged, log_lines):
    client = Client(raise_request_exception=False)
    for number, (pattern, template) in enumerate(URL_PATTERNS):
        monkeypatch.setattr(pattern, "callback", view)
        path = fill_in(template, pattern.pattern.converters)
        response = client.get(
            f"/{path}?code={CANARY}&state={CANARY}&next={CANARY}",
            REMOTE_ADDR=f"10.0.{number // 100}.1",  # each client may send a hundred requests
        )
        assert response.status_code >= 500, path

    errors = [line for line in log_lines() if line["logger"] == "django.request"]
    assert len(errors) >= len(URL_PATTERNS), "Django logged the errors"
    assert CANARY not in logged()


@pytest.mark.django_db
@pytest.mark.parametrize("error", [RenderFailed, OperationalError])
# One of the prefixes is derived from a secret, so it is no id of a test.
@pytest.mark.parametrize("prefix", site_server._mounts, ids=range(len(site_server._mounts)))
def test_log_lines_of_published_sites_hold_no_path(prefix, error, monkeypatch, visitor, logged):
    _, host = publish()

    def raise_with_path_in_a_variable(environ, route):
        path = environ["PATH_INFO"]
        raise error(f"{len(path)} bytes") from ValueError("broken")

    monkeypatch.setitem(site_server._mounts, prefix, (raise_with_path_in_a_variable, True, 0))
    status, _, _ = visitor.request(f"{prefix}{CANARY}/", host)

    assert status == 503
    assert "page_unavailable" in logged()
    assert CANARY not in logged()


@pytest.mark.django_db
def test_a_root_path_does_not_change_the_rest_of_a_line(log_lines):
    request = RequestFactory().get("/")
    logging.getLogger("django.request").error("Bad and/or late: %s", "/", extra={"request": request})

    assert [line["event"] for line in log_lines()] == ["Bad and/or late: /"]
