"""Idempotency keys and kept answers: what is repeated, and what never is."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connections
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.request import Request

from core.http import idempotency
from core.http.json_parser import StrictJSONParser
from core.models import StoredAnswer
from core.storage import redis
from sites.tests.factories import SiteFactory, document, page

pytestmark = pytest.mark.django_db
SITE = {"name": "My site", "subdomain": "my-site"}


CHANGES = {
    "renamed": ([], lambda api, site: api.patch(f"sites/{site.pk}", {"name": "Fresh"}, if_match="*")),
    "published": ([], lambda api, site: api.post(f"sites/{site.pk}/publish")),
    "unpublished": (["publish"], lambda api, site: api.post(f"sites/{site.pk}/unpublish")),
    "hidden": ([], lambda api, site: api.delete(f"sites/{site.pk}", if_match="*")),
    "restored": (["hide"], lambda api, site: api.post(f"sites/{site.pk}/restore")),
    "another made": ([], lambda api, site: api.post("sites", SITE)),
}


@pytest.fixture
def site(api):
    return SiteFactory(owner=api.user)


def test_blueprint_is_kept_as_sent_under_its_version(api, site):
    address = f"sites/{site.pk}/blueprint"
    wanted = document(page("/"), page("/about"), navigation=[{"label": "About", "link": {"page": "about"}}])

    assert api.put(address, wanted).status_code == 428
    saved = api.put(address, wanted, if_match=1)

    assert (saved.status_code, saved["ETag"]) == (200, '"2"')
    assert (saved.json(), api.get(address).json()) == (wanted, wanted)
    assert api.put(address, wanted, if_match=1).status_code == 412


def test_a_site_read_again_costs_no_query_and_a_change_shows_at_once(api, site, django_assert_num_queries):
    address = f"sites/{site.pk}"
    api.get("config")  # the first request finds Redis empty and fills it
    cold = api.get(address)

    with django_assert_num_queries(0):
        warm = api.get(address)
        same = api.get(address, If_None_Match=warm["ETag"])

    assert (warm.content, warm["ETag"], warm["Content-Type"]) == (
        cold.content,
        cold["ETag"],
        cold["Content-Type"],
    )
    assert (same.status_code, same.content) == (304, b"")
    api.patch(address, {"name": "Fresh"}, if_match=1)
    assert api.get(address).json()["name"] == "Fresh"


def test_what_is_kept_for_one_user_is_not_given_to_another(api, other, site, django_assert_num_queries):
    api.get("config")  # the first request finds Redis empty and fills it
    for path in (f"sites/{site.pk}", "sites"):
        assert api.get(path).status_code == 200
        with django_assert_num_queries(0):
            assert api.get(path).status_code == 200

    assert other.get(f"sites/{site.pk}").status_code == 404
    assert other.get("sites").json()["results"] == []


@pytest.mark.commits
def test_an_idempotency_key_makes_twenty_parallel_posts_one(api):
    def create(_):
        try:
            answer = api.post("sites", SITE, Idempotency_Key="create-my-site-1")
            return answer.status_code, answer.content, answer["Location"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(create, range(20)))

    assert len(answers) == 1
    assert next(iter(answers))[0] == 201
    assert len(api.get("sites").json()["results"]) == 1


def test_an_idempotency_key_is_bound_to_body_person_and_route(api, other):
    key = {"Idempotency_Key": "the-same-key"}
    api.post("sites", SITE, **key)

    assert api.post("sites", {**SITE, "name": "Else"}, **key).json()["code"] == "idempotency_key_reused"
    assert other.post("sites", {"name": "Theirs", "subdomain": "theirs"}, **key).status_code == 201
    pk = api.get("sites").json()["results"][0]["id"]
    assert api.post(f"sites/{pk}/publish", **key).json()["code"] == "site_empty"


def test_a_refusal_is_repeated_under_its_key_and_changes_nothing(api):
    api.post("sites", SITE)

    first = api.post("sites", SITE, Idempotency_Key="again")
    again = api.post("sites", SITE, Idempotency_Key="again")

    assert (first.status_code, again.status_code, again["Idempotency-Replayed"]) == (409, 409, "true")
    assert first.content == again.content


def test_a_stored_answer_cannot_be_read_without_the_key(api):
    api.post("sites", SITE, Idempotency_Key="secret-key-1")

    row = StoredAnswer.objects.get()
    assert b"my-site" not in bytes(row.answer)
    assert "secret-key-1" not in json.dumps([row.key_digest, row.route, row.body_digest])


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_shows_at_once_in_every_kept_answer(api, site, name):
    before, change = CHANGES[name]
    for step in before:
        answer = (
            api.post(f"sites/{site.pk}/publish")
            if step == "publish"
            else api.delete(f"sites/{site.pk}", if_match="*")
        )
        assert answer.status_code in {201, 204}

    def read():
        return [
            (answer.status_code, answer.content) for answer in (api.get(f"sites/{site.pk}"), api.get("sites"))
        ]

    read()
    kept = read()
    assert change(api, site).status_code in {200, 201, 204}
    shown = read()
    redis.client().flushdb()  # nothing is kept any more

    assert shown == read()
    assert shown[1] != kept[1]


def test_a_refusal_is_never_kept_as_an_answer(api):
    address = f"sites/{uuid4()}"
    api.get("config")  # the first request finds Redis empty and fills it

    answers = [api.get(address) for _ in range(2)]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "not_found")] * 2


def test_a_kept_answer_tells_the_limit_and_how_to_keep_it(api, site):
    api.get("config")  # the first request finds Redis empty and fills it
    names = ("RateLimit-Limit", "Cache-Control", "ETag", "Content-Type")

    cold, warm = (api.get(f"sites/{site.pk}") for _ in range(2))

    assert [warm.get(name) for name in names] == [cold[name] for name in names]
    assert int(warm["RateLimit-Remaining"]) <= int(cold["RateLimit-Remaining"])


def test_the_list_is_for_its_reader_alone(api, site):
    assert api.get("sites")["Cache-Control"] == "private, no-cache"


def test_a_repeated_answer_carries_the_headers_of_the_first(api):
    first, again = (api.post("sites", SITE, Idempotency_Key="with-headers") for _ in range(2))

    names = ("ETag", "Location", "Cache-Control", "Content-Type")
    assert [again[name] for name in names] == [first[name] for name in names]


def test_an_answer_that_broke_is_not_repeated(api):
    request = Request(
        RequestFactory().post("/api/v1/sites", content_type="application/json"), parsers=[StrictJSONParser()]
    )

    answers = [
        idempotency.execute_once(
            request, api.user.pk, "came-back", lambda status=status: HttpResponse(status=status)
        )
        for status in (503, 201, 409)
    ]

    assert [(answer.status_code, "Idempotency-Replayed" in answer) for answer in answers] == [
        (503, False),
        (201, False),
        (201, True),
    ]


def test_stored_answers_are_forgotten_after_a_day(api):
    for key in ("old-key", "new-key"):
        api.post("sites", {"name": "x", "subdomain": f"from-{key}"}, Idempotency_Key=key)
    old, new = StoredAnswer.objects.order_by("pk")
    StoredAnswer.objects.filter(pk=old.pk).update(
        created_at=timezone.now() - idempotency.LIFETIME - timedelta(seconds=1)
    )

    assert idempotency.delete_expired() == 1

    assert list(StoredAnswer.objects.all()) == [new]
