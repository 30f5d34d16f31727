"""Requests that once broke the API or made it slow. Each must get a clear error within a reasonable time."""

import base64

import pytest
from django.test import Client
from rest_framework.exceptions import ParseError

from conftest import PASSWORD
from core.http.json_parser import parse_json
from core.observability import metrics
from sites.tests.factories import SiteFactory, document, page

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "body",
    [b'{"a":"' + b'\\"' * 2_000_000, b'{"a":"' + b"\\" * 4_000_001, b'"' * 4_000_000, b"[" * 8_000_000],
)
def test_parse_json_refuses_hostile_bodies_in_linear_time(body):
    with pytest.raises(ParseError):
        parse_json(body)


def test_put_blueprint_refuses_text_that_grows_too_long_when_it_is_escaped(api):
    site = SiteFactory(owner=api.user)
    text_block = {"id": "t", "type": "text", "v": 1, "props": {"html": "&" * 20_000}}

    blueprint = document(page("/", blocks=[text_block]))
    response = api.put(f"sites/{site.pk}/blueprint", blueprint, if_match=1)

    pointer = "/pages/0/blocks/0/props/html"
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, pointer)


def test_put_blueprint_limits_blocks_before_it_validates_each(api):
    site = SiteFactory(owner=api.user)
    pages = [{"id": f"p{n}", "path": f"/p{n}", "title": "x", "blocks": [1] * 2000} for n in range(100)]

    response = api.put(f"sites/{site.pk}/blueprint", document(pages=pages), if_match=1)

    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, "too_many_blocks")


@pytest.mark.parametrize(
    "origin", ["http://[", "http://[::1", "https://", "null", "\x7f", "http://testserver:80:80"]
)
def test_refresh_refuses_a_malformed_origin(origin):
    response = Client().post(
        "/api/v1/auth/refresh",
        b"{}",
        content_type="application/json",
        headers={"Origin": origin, "X-Requested-With": "x"},
    )

    assert response.status_code == 403


@pytest.mark.parametrize("email", ["a@" + "ﷺ" * 60 + ".com", "a@b＠c.com", "a@x.℀.com"])
def test_register_validates_the_address_after_unicode_normalisation(email):
    response = Client().post(
        "/api/v1/auth/register", {"email": email, "password": PASSWORD}, content_type="application/json"
    )

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, "/email")


def test_list_sites_refuses_a_cursor_of_nested_brackets(api):
    cursor = base64.urlsafe_b64encode(b"[" * 40_000).decode()

    assert api.get(f"sites?cursor={cursor}").status_code == 400


def test_metrics_exposition_has_no_labels_of_invented_methods():
    for number in range(5):
        Client().generic(f"METHOD{number}", "/health/live")

    assert b"METHOD" not in metrics.exposition()
