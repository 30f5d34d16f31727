"""The HTTP API of goals, segments, funnels, annotations, links and weekly mails (`views/definitions.py`)."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.tests.factories import UserFactory
from analytics import services
from analytics.models import Definition
from analytics.sharing import weekly_mail
from analytics.tests.helpers import create_definition, create_share
from audit.models import Entry
from conftest import sign_in
from core import tenancy
from sites.models import Access
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db


def test_create_goal_and_create_funnel_refuse_invalid_conditions_and_used_names(site, owner):
    base = f"sites/{site.pk}/analytics"
    for kind, conditions in [
        ("goals", []),
        ("goals", ["page"]),
        ("goals", ["page:is:"]),
        ("goals", ["page:is:\x00"]),
        ("goals", ["nothing:is:x"]),
        ("goals", "page:is:/"),
        ("goals", ["page:is:/"] * 11),
        ("funnels", ["page:is:/"]),
        ("funnels", ["page:is:/"] * 9),
        ("goals", [7]),
        ("goals", ["page:is:" + "x" * 2000]),
    ]:
        assert owner.post(f"{base}/{kind}", {"name": "x", "conditions": conditions}).status_code == 400, (
            conditions
        )
    create_definition(owner, site, "page:is:/", name="Twice")
    duplicate = owner.post(f"{base}/goals", {"name": "Twice", "conditions": ["page:is:/"]})
    assert (duplicate.status_code, duplicate.json()["code"]) == (409, "name_taken")
    other = create_definition(owner, site, "page:is:/", name="Other")
    renamed = owner.call("PATCH", f"/api/v1/{base}/goals/{other}", {"name": "Twice"})
    assert (renamed.status_code, renamed.json()["code"]) == (409, "name_taken")


def test_create_goal_enforces_the_row_limit_by_kind(site, owner, monkeypatch):
    monkeypatch.setattr(services.enforce_row_limit, "__kwdefaults__", {"limit": 2})
    for number in range(2):
        create_definition(owner, site, "page:is:/", name=str(number))

    response = owner.post(f"sites/{site.pk}/analytics/goals", {"name": "x", "conditions": ["page:is:/"]})

    assert (response.status_code, response.json()["code"]) == (409, "too_many_saved")
    assert (
        owner.post(
            f"sites/{site.pk}/analytics/segments", {"name": "x", "conditions": ["page:is:/"]}
        ).status_code
        == 201
    )


def test_create_goal_change_goal_and_delete_goal_require_the_role_editor(site, owner):
    goal_id = create_definition(owner, site, "page:is:/")
    viewer = UserFactory()
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=site, user=viewer, role="viewer")
    viewer_api = sign_in(viewer)
    base = f"sites/{site.pk}/analytics"

    assert viewer_api.get(f"{base}/goals/{goal_id}").status_code == 200
    assert viewer_api.post(f"{base}/goals", {"name": "x", "conditions": ["page:is:/"]}).status_code == 403
    assert viewer_api.call("PATCH", f"/api/v1/{base}/goals/{goal_id}", {"name": "x"}).status_code == 403
    assert viewer_api.delete(f"{base}/goals/{goal_id}").status_code == 403
    with (
        pytest.raises(Exception, match="row-level security"),
        tenancy.context(tenancy.user_context(viewer.pk)),
    ):
        Definition.objects.create(site=site, kind="goal", name="Behind the views", conditions=[])


def test_read_goal_answers_404_for_a_goal_of_another_site(site, owner):
    other_site = SiteFactory()
    goal_id = create_definition(sign_in(other_site.owner), other_site, "page:is:/")

    assert owner.get(f"sites/{site.pk}/analytics/goals/{goal_id}").status_code == 404
    assert owner.get(f"sites/{site.pk}/analytics/summary?goal={goal_id}").status_code == 404
    assert owner.delete(f"sites/{site.pk}/analytics/goals/{goal_id}").status_code == 404
    with tenancy.context(tenancy.user_context(site.owner_id)):
        assert not Definition.objects.filter(pk=goal_id).exists()


def test_list_annotations_includes_releases(site, owner):
    base = f"sites/{site.pk}/analytics"
    assert owner.post(f"sites/{site.pk}/publish", {"note": "New prices"}).status_code == 201
    today = datetime.now(UTC).date()
    annotation = owner.post(f"{base}/annotations", {"day": today.isoformat(), "text": "A feast"}).json()

    notes = owner.get(f"{base}/annotations?period=7d").json()

    texts = [(note["kind"], note["text"]) for note in notes if note["day"] == today.isoformat()]
    assert ("note", "A feast") in texts
    assert any(kind == "publish" and text.endswith(": New prices") for kind, text in texts)
    assert owner.get(f"{base}/annotations?from=2020-01-01&to=2020-01-02").json() == []
    assert owner.delete(f"{base}/annotations/{annotation['id']}").status_code == 204
    assert [note["kind"] for note in owner.get(f"{base}/annotations?period=7d").json()].count("note") == 0


def test_create_goal_change_goal_and_delete_goal_write_audit_entries(site, owner):
    goal_id = create_definition(owner, site, "page:is:/", name="Old")
    owner.call("PATCH", f"/api/v1/sites/{site.pk}/analytics/goals/{goal_id}", {"name": "New"})
    owner.delete(f"sites/{site.pk}/analytics/goals/{goal_id}")

    events = list(Entry.objects.filter(subject_id=goal_id).order_by("id").values_list("event", flat=True))

    assert events == ["goal.created", "goal.changed", "goal.deleted"]


@pytest.mark.commits
def test_change_goal_keeps_two_concurrent_changes(site, owner):
    goal_id = create_definition(owner, site, "page:is:/", name="Before")
    bodies = [{"name": "After"}, {"conditions": ["page:is:/x"]}]
    statuses = []

    def change(body):
        statuses.append(
            sign_in(site.owner)
            .call("PATCH", f"/api/v1/sites/{site.pk}/analytics/goals/{goal_id}", body)
            .status_code
        )
        connection.close()

    threads = [threading.Thread(target=change, args=[body]) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert statuses == [200, 200]
    row = owner.get(f"sites/{site.pk}/analytics/goals/{goal_id}").json()
    assert (row["name"], row["conditions"]) == ("After", ["page:is:/x"])


def test_create_share_and_list_shares_require_the_role_editor(site, owner):
    viewer = UserFactory()
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=site, user=viewer, role="viewer")
    create_share(owner, site)
    viewer_api = sign_in(viewer)

    assert viewer_api.get(f"sites/{site.pk}/analytics/shares").status_code == 403
    assert viewer_api.post(f"sites/{site.pk}/analytics/shares", {"name": "x"}).status_code == 403
    for invalid in (
        {"password": "short"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"conditions": ["x"]},
        {"conditions": ["page:is:x"] * 11},
        {},
    ):
        body = {"name": "x", **invalid} if invalid else {}
        assert owner.post(f"sites/{site.pk}/analytics/shares", body).status_code == 400, invalid


def test_subscribe_weekly_mail_twice_sends_one_mail_from_the_next_monday_on(site, owner):
    for _ in range(2):
        assert owner.call("PUT", f"/api/v1/sites/{site.pk}/analytics/weekly-mail").status_code == 200

    assert weekly_mail.send_due_mails(now=timezone.now()) == 0
    assert weekly_mail.send_due_mails(now=timezone.now() + timedelta(days=8)) == 1
    assert owner.delete(f"sites/{site.pk}/analytics/weekly-mail").status_code == 204
