"""Publishing: releases, roll back, unpublish, and scheduled changes."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.utils import timezone

from accounts.models import User
from core import tenancy
from core.jobs import queue
from core.models import Job
from sites.models import Release, Revision, Schedule
from sites.services import drafts, publishing
from sites.tests.api_calls import (
    ONE_HOUR,
    audit_events,
    create_post,
    create_preview,
    create_schedule,
    live_title_and_release_count,
    make_schedules_due,
    patch_post,
    preview_path,
)
from sites.tests.factories import SiteFactory, document, page

pytestmark = pytest.mark.django_db
SITE = {"name": "My site", "subdomain": "my-site"}


@pytest.fixture
def site(api):
    return SiteFactory(owner=api.user)


def test_publish_site_stores_the_note_and_the_author(team):
    response = team.editor.post(team.path("publish"), {"note": "Spring menu"})

    assert response.status_code == 201
    listed = team.viewer.get(team.path("releases")).json()["results"]
    release = {name: listed[0][name] for name in ("number", "note", "author", "live")}
    assert release == {"number": 1, "note": "Spring menu", "author": str(team.editor.user.pk), "live": True}
    assert team.editor.post(team.path("publish"), {"note": "x" * 501}).status_code == 400
    assert team.editor.post(team.path("publish"), {"notes": "x"}).status_code == 400


def test_roll_back_to_release_shows_the_release_and_keeps_the_draft(team):
    team.save_draft("First")
    first = team.editor.post(team.path("publish")).json()
    team.save_draft("Second")
    team.editor.post(team.path("publish"))

    response = team.editor.post(team.path(f"releases/{first['id']}/publish"))

    assert (response.status_code, response.json()["number"], response.json()["live"]) == (200, 1, True)
    assert live_title_and_release_count(team) == ("First", 2)
    assert team.viewer.get(team.path("blueprint")).json()["settings"]["title"] == "Second"
    assert [row["live"] for row in team.viewer.get(team.path("releases")).json()["results"]] == [False, True]
    again = team.editor.post(team.path(f"releases/{first['id']}/publish"))
    assert (again.status_code, again.json()["code"]) == (409, "release_live")
    team.save_draft("Third")
    assert team.editor.post(team.path("publish")).json()["number"] == 3


def test_publish_scheduled_publishes_the_revision_of_the_schedule(team):
    team.save_draft("Planned")
    schedule = create_schedule(team, note="At nine").json()
    team.save_draft("Changed later")
    assert publishing.publish_scheduled(now=timezone.now()) == 0

    make_schedules_due(pk=schedule["id"])
    assert publishing.publish_scheduled(now=timezone.now()) == 1

    assert live_title_and_release_count(team) == ("Planned", 1)
    listed = team.viewer.get(team.path("schedules")).json()["results"]
    assert [(row["act"], row["note"], row["state"], row["draft_version"]) for row in listed] == [
        ("publish", "At nine", "done", 2)
    ]
    released = team.viewer.get(team.path("releases")).json()["results"][0]
    assert (released["note"], released["author"]) == ("At nine", str(team.editor.user.pk))


@pytest.mark.commits
def test_publish_scheduled_publishes_once_with_parallel_workers(team):
    team.save_draft("Planned")
    create_schedule(team)
    make_schedules_due()

    def publish_due(_):
        try:
            return publishing.publish_scheduled(now=timezone.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(publish_due, range(16))) == 1
    assert (live_title_and_release_count(team), audit_events(team, "site.published")) == (
        ("Planned", 1),
        ["site.published"],
    )


def test_publish_scheduled_retries_after_a_killed_worker(team):
    team.save_draft("Planned")
    create_schedule(team)
    make_schedules_due()
    queue.claim(Schedule, now=timezone.now())  # the worker is killed after its claim
    assert publishing.publish_scheduled(now=timezone.now()) == 0
    assert publishing.publish_scheduled(now=timezone.now() + queue.LEASE + ONE_HOUR) == 1
    # A worker killed after its transaction has marked the schedule as done, so it is not claimed again.
    assert publishing.publish_scheduled(now=timezone.now() + 3 * queue.LEASE) == 0
    assert live_title_and_release_count(team) == ("Planned", 1)


def test_cancel_schedule_works_after_a_worker_claimed_it(team):
    first = create_schedule(team).json()["id"]
    second = create_schedule(team).json()["id"]
    make_schedules_due()
    claimed = [queue.claim(Schedule, now=timezone.now()) for _ in range(2)]
    assert team.editor.delete(team.path(f"schedules/{first}")).status_code == 204
    assert team.editor.delete(team.path(f"schedules/{second}")).status_code == 204

    for job in claimed:
        publishing._run_schedule(job)

    assert live_title_and_release_count(team) == (None, 0)
    assert team.editor.delete(team.path(f"schedules/{first}")).status_code == 404


def test_cancel_schedule_refuses_a_finished_schedule(team):
    schedule_id = create_schedule(team).json()["id"]
    make_schedules_due()
    publishing.publish_scheduled(now=timezone.now())

    response = team.editor.delete(team.path(f"schedules/{schedule_id}"))

    assert (response.status_code, response.json()["code"]) == (409, "schedule_done")


def test_publish_scheduled_unpublishes_and_records_failures(team):
    team.editor.post(team.path("publish"))
    create_schedule(team, act="unpublish")
    create_schedule(team, act="unpublish")
    make_schedules_due()

    assert publishing.publish_scheduled(now=timezone.now()) == 2

    assert live_title_and_release_count(team) == (None, 1)
    assert audit_events(team, "site.unpublished", "site.schedule_failed") == [
        "site.unpublished",
        "site.schedule_failed",
    ]


@pytest.mark.parametrize("body", [{"at": "2020-01-01T00:00:00Z"}, {"at": "2099-01-01T00:00:00Z"}])
def test_schedule_change_refuses_past_and_distant_times(team, body):
    response = create_schedule(team, **body)

    assert (response.status_code, response.json()["code"]) == (409, "time_passed")


@pytest.mark.parametrize("body", [{"at": "tomorrow"}, {"at": None}, {"act": "explode"}])
def test_schedule_change_refuses_invalid_fields(team, body):
    assert create_schedule(team, **body).status_code == 400


def test_schedule_change_checks_if_match(team):
    at = (timezone.now() + ONE_HOUR).isoformat()

    assert team.editor.post(team.path("schedules"), {"at": at}, if_match=9).status_code == 412
    assert team.editor.post(team.path("schedules"), {"at": at}, if_match=1).status_code == 201


def test_schedule_change_limits_open_schedules(team):
    for _ in range(publishing.MAX_SCHEDULES):
        assert create_schedule(team).status_code == 201

    assert create_schedule(team).json()["code"] == "too_many_schedules"


def test_publish_scheduled_does_not_publish_a_deleted_site(team):
    create_schedule(team)
    team.owner.delete(team.path(), if_match="*")
    make_schedules_due()

    publishing.publish_scheduled(now=timezone.now())

    assert live_title_and_release_count(team) == (None, 0)


def test_thin_revisions_keeps_the_revision_of_a_schedule(team):
    team.save_draft("Planned")
    create_schedule(team)
    team.save_draft("Later")
    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))
        kept_versions = set(Revision.objects.filter(site=team.site).values_list("version", flat=True))

    assert kept_versions == {2, 3}


def test_publish_scheduled_command_reports_the_number(team, capsys):
    create_schedule(team)
    make_schedules_due()

    call_command("publish_scheduled")
    call_command("publish_scheduled")

    assert capsys.readouterr().out == "done=1\ndone=0\n"


@pytest.mark.commits
def test_publish_scheduled_command_publishes_once_in_two_processes(team):
    """Run the command in two processes at the same time, as on two machines."""
    url = urlsplit(os.environ["DATABASE_URL"])
    environ = {
        **os.environ,
        "DATABASE_URL": url._replace(path=f"/{connection.settings_dict['NAME']}").geturl(),
    }
    create_schedule(team)
    make_schedules_due()
    command = [sys.executable, "manage.py", "publish_scheduled"]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, cwd=settings.BASE_DIR)
        for _ in range(2)
    ]
    counts = sorted(process.communicate(timeout=60)[0].decode().strip() for process in running)

    assert counts == ["done=0", "done=1"]
    with tenancy.context(tenancy.SYSTEM):
        assert Schedule.objects.get().status == Job.Status.DONE


def test_publish_scheduled_refuses_schedules_of_disabled_users(live_team, visitor):
    address = preview_path(create_preview(live_team, role="editor"))
    live_team.save_draft("Planned")
    create_schedule(live_team)
    make_schedules_due()
    User.objects.filter(pk=live_team.editor.user.pk).update(is_active=False)

    publishing.publish_scheduled(now=timezone.now())

    assert visitor.request(address, live_team.host)[0] == 404
    assert live_title_and_release_count(live_team)[0] == "A site"
    assert live_team.owner.get(live_team.path("schedules")).json()["results"][0]["refused"] == "author_gone"
    post = create_post(live_team, role="author")
    assert patch_post(live_team, post, role="owner", author=str(live_team.editor.user.pk)).status_code == 400


def test_publish_scheduled_does_not_replace_a_newer_release(live_team):
    live_team.save_draft("Old plan")
    create_schedule(live_team)
    make_schedules_due()
    queue.claim(Schedule, now=timezone.now())  # the worker is killed after its claim
    live_team.save_draft("Newer")
    live_team.editor.post(live_team.path("publish"))

    publishing.publish_scheduled(now=timezone.now() + 2 * queue.LEASE)

    assert live_title_and_release_count(live_team)[0] == "Newer"
    assert live_team.owner.get(live_team.path("schedules")).json()["results"][0]["refused"] == "overtaken"


def test_publish_scheduled_continues_after_a_cancelled_schedule(live_team, monkeypatch):
    live_team.save_draft("Second")
    first = create_schedule(live_team).json()["id"]
    _ = create_schedule(live_team)
    make_schedules_due()
    run_schedule = publishing._run_schedule

    def run_after_cancelling(schedule):
        if str(schedule.pk) == first:
            live_team.editor.delete(live_team.path(f"schedules/{first}"))
        return run_schedule(schedule)

    monkeypatch.setattr(publishing, "_run_schedule", run_after_cancelling)
    publishing.publish_scheduled(now=timezone.now())

    assert live_title_and_release_count(live_team)[0] == "Second"


@pytest.mark.parametrize("resource", ["schedules", "reviews", "previews", "releases"])
@pytest.mark.commits
def test_list_views_do_not_load_blueprints(live_team, resource, django_assert_max_num_queries):
    create_schedule(live_team)
    live_team.author.post(live_team.path("reviews"), {})
    live_team.author.post(live_team.path("previews"), {})
    with django_assert_max_num_queries(5) as queries:
        assert live_team.owner.get(live_team.path(resource)).status_code == 200
    assert not any('"blueprint"' in query["sql"] for query in queries.captured_queries)
    with django_assert_max_num_queries(5) as queries:
        assert live_team.owner.get("sites").status_code == 200
    assert not any('"blueprint"' in query["sql"] for query in queries.captured_queries)


def test_publish_site_answers_201_and_freezes_the_draft(api, site):
    address = f"sites/{site.pk}"
    response = api.post(f"{address}/publish")
    assert (response.status_code, response.json()["number"], response.json()["author"]) == (
        201,
        1,
        str(api.user.pk),
    )
    assert (api.get(address).json()["status"], api.get(address).json()["release"]) == ("live", 1)

    api.put(f"{address}/blueprint", document(page("/", title="Changed")), if_match=1)
    with tenancy.context(tenancy.SYSTEM):
        assert Release.objects.get(site=site).blueprint["pages"][0]["title"] == "Home"
    assert api.post(f"{address}/publish").json()["number"] == 2
    assert [item["number"] for item in api.get(f"{address}/releases").json()["results"]] == [2, 1]


def test_publish_site_refuses_an_empty_site_and_a_stale_draft(api, site):
    empty = api.post("sites", SITE).json()["id"]

    assert api.post(f"sites/{empty}/publish").json()["code"] == "site_empty"
    assert api.post(f"sites/{site.pk}/publish", if_match=9).status_code == 412
    assert api.get(f"sites/{site.pk}/releases").json()["results"] == []


def test_unpublish_site_refuses_a_site_that_is_not_live(api, site):
    assert api.post(f"sites/{site.pk}/unpublish").json()["code"] == "not_published"
    api.post(f"sites/{site.pk}/publish")

    response = api.post(f"sites/{site.pk}/unpublish").json()

    assert (response["status"], response["release"]) == ("draft", None)


def test_publish_site_refuses_an_unknown_field(api, site):
    response = api.post(f"sites/{site.pk}/publish", {"force": True})

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, "/force")
