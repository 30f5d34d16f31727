"""CORS headers of the public API."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


def test_public_cors_middleware_lets_any_origin_read_refusals_and_preflights(team):
    assert team.editor.post(team.path("publish")).status_code == 201
    url = f"/api/v1/public/sites/{team.host}"

    refused = Client().get(url, headers={"Authorization": "Bearer nonsense"})
    preflights = [Client().options(url, headers={"Origin": "https://x.example"}) for _ in range(5)]

    assert (refused.status_code, refused["Access-Control-Allow-Origin"]) == (401, "*")
    assert {(answer.status_code, answer["Access-Control-Allow-Origin"]) for answer in preflights} == {
        (204, "*")
    }
    assert "RateLimit-Remaining" not in preflights[0]  # a preflight does not count against the limit
