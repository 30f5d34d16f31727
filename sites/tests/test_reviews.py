"""Reviews: request, approve, return and withdraw."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from accounts.tests.helpers import deliver_and_read_mails
from core import tenancy
from sites.models import Review
from sites.tests.api_calls import audit_events, create_schedule, live_title_and_release_count
from sites.tests.factories import document

pytestmark = pytest.mark.django_db


def request_review(team, role="author", note="Please"):
    return team.member(role).post(team.path("reviews"), {"note": note})


def test_request_review_mails_the_editors(team):
    team.save_draft("Mine")
    assert team.author.post(team.path("publish")).json()["code"] == "site_role_too_low"

    review = request_review(team).json()

    assert (review["state"], review["note"], review["draft_version"]) == ("open", "Please", 2)
    for member in (team.owner, team.editor):
        assert "A draft is waiting for your review" in deliver_and_read_mails(member.user.email)[0]
    assert deliver_and_read_mails(team.viewer.user.email) == []
    assert deliver_and_read_mails(team.author.user.email) == []


def test_approve_review_publishes_the_reviewed_revision(team):
    team.save_draft("Asked")
    review = request_review(team).json()["id"]
    team.save_draft("Not asked")

    assert team.author.post(team.path(f"reviews/{review}/approve"), {}).status_code == 403
    response = team.editor.post(team.path(f"reviews/{review}/approve"), {"comment": "Lovely"})

    assert (response.status_code, live_title_and_release_count(team)) == (201, ("Asked", 1))
    listed = team.viewer.get(team.path("reviews")).json()["results"][0]
    assert (listed["state"], listed["comment"], listed["editor"]) == (
        "approved",
        "Lovely",
        str(team.editor.user.pk),
    )
    assert "Your draft was published" in deliver_and_read_mails(team.author.user.email)[0]
    assert audit_events(team, "review.asked", "site.published", "review.approved") == [
        "review.asked",
        "site.published",
        "review.approved",
    ]


def test_return_review_needs_a_comment_and_publishes_nothing(team):
    team.save_draft("Asked")
    review = request_review(team).json()["id"]

    assert team.editor.post(team.path(f"reviews/{review}/return"), {}).status_code == 400
    response = team.editor.post(team.path(f"reviews/{review}/return"), {"comment": "The prices are old"})

    assert (response.json()["state"], live_title_and_release_count(team)) == ("returned", (None, 0))
    assert "Your draft was returned" in deliver_and_read_mails(team.author.user.email)[0]
    for verb in ("return", "approve"):
        again = team.editor.post(team.path(f"reviews/{review}/{verb}"), {"comment": "x"})
        assert (again.status_code, again.json()["code"]) == (409, "review_answered")
    assert request_review(team).status_code == 201


@pytest.mark.commits
def test_approve_review_works_once_with_two_editors(team):
    review = request_review(team).json()["id"]
    assert request_review(team, role="editor").json()["code"] == "review_open"

    def approve(member):
        try:
            return member.post(team.path(f"reviews/{review}/approve"), {}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(approve, [team.owner, team.editor])) == [201, 409]
    assert live_title_and_release_count(team)[1] == 1


def test_withdraw_review_is_allowed_to_its_author_and_editors(team):
    first = request_review(team, role="editor").json()["id"]
    assert team.author.delete(team.path(f"reviews/{first}")).status_code == 403
    assert team.editor.delete(team.path(f"reviews/{first}")).status_code == 204
    second = request_review(team).json()["id"]
    assert team.author.delete(team.path(f"reviews/{second}")).status_code == 204
    with tenancy.context(tenancy.SYSTEM):
        assert set(Review.objects.values_list("status", flat=True)) == {"withdrawn"}


def test_request_review_limits_mails_per_hour(team):
    for _ in range(8):
        pk = request_review(team).json()["id"]
        team.author.delete(team.path(f"reviews/{pk}"))

    assert len(deliver_and_read_mails(team.owner.user.email)) == 5


def test_check_publishable_refuses_an_empty_draft(team):
    team.author.put(team.path("blueprint"), document() | {"pages": []}, if_match="*")

    assert (create_schedule(team).json()["code"], request_review(team).json()["code"]) == (
        "site_empty",
        "site_empty",
    )
