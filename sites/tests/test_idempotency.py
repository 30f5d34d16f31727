"""Idempotency keys: which responses are stored and replayed."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.request import Request

from core import tenancy
from core.http import idempotency
from core.http.json_parser import StrictJSONParser
from core.models import IdempotentResponse
from sites.models import Access

pytestmark = pytest.mark.django_db
SITE = {"name": "My site", "subdomain": "my-site"}


@pytest.mark.commits
def test_execute_once_runs_one_of_twenty_parallel_requests(api):
    def create(_):
        try:
            response = api.post("sites", SITE, Idempotency_Key="create-my-site-1")
            return response.status_code, response.content, response["Location"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        responses = set(pool.map(create, range(20)))

    assert len(responses) == 1
    assert next(iter(responses))[0] == 201
    assert len(api.get("sites").json()["results"]) == 1


def test_execute_once_binds_the_key_to_body_user_and_route(api, other):
    key = {"Idempotency_Key": "the-same-key"}
    api.post("sites", SITE, **key)

    assert api.post("sites", {**SITE, "name": "Else"}, **key).json()["code"] == "idempotency_key_reused"
    assert other.post("sites", {"name": "Theirs", "subdomain": "theirs"}, **key).status_code == 201
    pk = api.get("sites").json()["results"][0]["id"]
    assert api.post(f"sites/{pk}/publish", **key).json()["code"] == "site_empty"


def test_execute_once_replays_an_error(api):
    api.post("sites", SITE)

    first = api.post("sites", SITE, Idempotency_Key="again")
    replayed = api.post("sites", SITE, Idempotency_Key="again")

    assert (first.status_code, replayed.status_code, replayed["Idempotency-Replayed"]) == (409, 409, "true")
    assert first.content == replayed.content


def test_execute_once_stores_an_encrypted_response(api):
    api.post("sites", SITE, Idempotency_Key="secret-key-1")

    row = IdempotentResponse.objects.get()
    assert b"my-site" not in bytes(row.response)
    assert "secret-key-1" not in json.dumps([row.key_digest, row.route, row.body_digest])


def test_execute_once_replays_the_headers(api):
    first, replayed = (api.post("sites", SITE, Idempotency_Key="with-headers") for _ in range(2))

    names = ("ETag", "Location", "Cache-Control", "Content-Type")
    assert [replayed[name] for name in names] == [first[name] for name in names]


def test_execute_once_does_not_replay_server_errors(api):
    request = Request(
        RequestFactory().post("/api/v1/sites", content_type="application/json"), parsers=[StrictJSONParser()]
    )

    responses = [
        idempotency.execute_once(
            request,
            api.user.pk,
            "came-back",
            lambda status=status: HttpResponse(status=status),
            check_access=lambda: None,
        )
        for status in (503, 201, 409)
    ]

    assert [(response.status_code, "Idempotency-Replayed" in response) for response in responses] == [
        (503, False),
        (201, False),
        (201, True),
    ]


def test_execute_once_does_not_replay_to_a_removed_member(api, other):
    site_id = api.post("sites", {**SITE, "template": "bakery"}).json()["id"]
    with tenancy.context(tenancy.SYSTEM):
        access = Access.objects.create(site_id=site_id, user=other.user, role="editor")
    path = f"sites/{site_id}/posts"
    key = {"Idempotency_Key": "a-post-of-a-member"}
    assert other.post(path, {"title": "Rye"}, **key).status_code == 201
    assert other.post(path, {"title": "Rye"}, **key)["Idempotency-Replayed"] == "true"

    with tenancy.context(tenancy.SYSTEM):
        access.set_role("viewer")
    assert other.post(path, {"title": "Rye"}, **key).status_code == 403
    with tenancy.context(tenancy.SYSTEM):
        access.delete()
    assert other.post(path, {"title": "Rye"}, **key).status_code == 404


def test_delete_expired_deletes_stored_responses_after_a_day(api):
    for key in ("old-key", "new-key"):
        api.post("sites", {"name": "x", "subdomain": f"from-{key}"}, Idempotency_Key=key)
    old, new = IdempotentResponse.objects.order_by("pk")
    IdempotentResponse.objects.filter(pk=old.pk).update(
        created_at=timezone.now() - idempotency.LIFETIME - timedelta(seconds=1)
    )

    assert idempotency.delete_expired() == 1

    assert list(IdempotentResponse.objects.all()) == [new]
