"""What visitors see: notes, plans, roll back, reviews.

Each happens once, and shows exactly what was asked for.
"""

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

from accounts.tests.helpers import deliver_and_read_mails
from audit.models import Entry
from core import tenancy
from core.models import Job
from sites import services
from sites.models import Release, Review, Revision, Schedule, Site
from sites.services import drafts, publishing
from sites.tests.factories import document

pytestmark = pytest.mark.django_db
SOON = timedelta(hours=1)


def plan(team, who="editor", **body):
    return team.of(who).post(team.path("schedules"), {"at": (timezone.now() + SOON).isoformat(), **body})


def shown(team):
    """The title that visitors get, and how many releases there are."""
    with tenancy.context(tenancy.SYSTEM):
        site = Site.objects.select_related("live_release").get(pk=team.site.pk)
        live = site.live_release
        return live.blueprint["settings"]["title"] if live else None, Release.objects.filter(
            site=site
        ).count()


def due(**facts):
    with tenancy.context(tenancy.SYSTEM):
        Schedule.objects.filter(**facts).update(
            at=timezone.now(), due_at=timezone.now() - timedelta(seconds=1)
        )


def events(team, *names):
    return list(
        Entry.objects.filter(site_id=team.site.pk, event__in=names)
        .order_by("id")
        .values_list("event", flat=True)
    )


def test_a_release_keeps_its_note_and_its_author(team):
    made = team.editor.post(team.path("publish"), {"note": "Spring menu"})

    assert made.status_code == 201
    listed = team.viewer.get(team.path("releases")).json()["results"]
    facts = {name: listed[0][name] for name in ("number", "note", "author", "live")}
    assert facts == {"number": 1, "note": "Spring menu", "author": str(team.editor.user.pk), "live": True}
    assert team.editor.post(team.path("publish"), {"note": "x" * 501}).status_code == 400
    assert team.editor.post(team.path("publish"), {"notes": "x"}).status_code == 400


def test_rolling_back_shows_the_very_same_release_and_leaves_the_draft(team):
    team.save("First")
    first = team.editor.post(team.path("publish")).json()
    team.save("Second")
    team.editor.post(team.path("publish"))

    answer = team.editor.post(team.path(f"releases/{first['id']}/publish"))

    assert (answer.status_code, answer.json()["number"], answer.json()["live"]) == (200, 1, True)
    assert shown(team) == ("First", 2)
    assert team.viewer.get(team.path("blueprint")).json()["settings"]["title"] == "Second"
    assert [row["live"] for row in team.viewer.get(team.path("releases")).json()["results"]] == [False, True]
    again = team.editor.post(team.path(f"releases/{first['id']}/publish"))
    assert (again.status_code, again.json()["code"]) == (409, "release_live")
    team.save("Third")
    assert team.editor.post(team.path("publish")).json()["number"] == 3


def test_a_plan_publishes_what_the_draft_was_when_it_was_made(team):
    team.save("Planned")
    made = plan(team, note="At nine").json()
    team.save("Changed later")
    assert publishing.publish_scheduled(now=timezone.now()) == 0

    due(pk=made["id"])
    assert publishing.publish_scheduled(now=timezone.now()) == 1

    assert shown(team) == ("Planned", 1)
    listed = team.viewer.get(team.path("schedules")).json()["results"]
    assert [(row["act"], row["note"], row["state"], row["draft_version"]) for row in listed] == [
        ("publish", "At nine", "done", 2)
    ]
    released = team.viewer.get(team.path("releases")).json()["results"][0]
    assert (released["note"], released["author"]) == ("At nine", str(team.editor.user.pk))


@pytest.mark.commits
def test_many_workers_at_the_same_moment_publish_once(team):
    team.save("Planned")
    plan(team)
    due()

    def work(_):
        try:
            return publishing.publish_scheduled(now=timezone.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(16))) == 1
    assert (shown(team), events(team, "site.published")) == (("Planned", 1), ["site.published"])


def test_a_worker_that_dies_before_it_is_done_leaves_it_to_the_next_and_it_happens_once(team):
    team.save("Planned")
    plan(team)
    due()
    from core.jobs import queue

    queue.claim(Schedule, now=timezone.now())  # and the worker was killed here
    assert publishing.publish_scheduled(now=timezone.now()) == 0
    assert publishing.publish_scheduled(now=timezone.now() + queue.LEASE + SOON) == 1
    # One that was killed after its transaction: the row ended with it, so nobody takes it again.
    assert publishing.publish_scheduled(now=timezone.now() + 3 * queue.LEASE) == 0
    assert shown(team) == ("Planned", 1)


def test_a_cancelled_plan_does_not_happen_even_when_it_was_claimed(team):
    from core.jobs import queue

    first = plan(team).json()["id"]
    second = plan(team).json()["id"]
    due()
    claimed = queue.claim(Schedule, now=timezone.now())
    assert team.editor.delete(team.path(f"schedules/{first}")).status_code == 204
    assert team.editor.delete(team.path(f"schedules/{second}")).status_code == 204

    for job in claimed:
        services.publishing._run(job)

    assert shown(team) == (None, 0)
    assert team.editor.delete(team.path(f"schedules/{first}")).status_code == 404


def test_what_has_happened_cannot_be_cancelled(team):
    made = plan(team).json()["id"]
    due()
    publishing.publish_scheduled(now=timezone.now())

    answer = team.editor.delete(team.path(f"schedules/{made}"))

    assert (answer.status_code, answer.json()["code"]) == (409, "schedule_done")


def test_an_unpublish_may_be_planned_and_what_cannot_be_done_is_said_in_the_trail(team):
    team.editor.post(team.path("publish"))
    plan(team, act="unpublish")
    plan(team, act="unpublish")
    due()

    assert publishing.publish_scheduled(now=timezone.now()) == 2

    assert shown(team) == (None, 1)
    assert events(team, "site.unpublished", "site.schedule_failed") == [
        "site.unpublished",
        "site.schedule_failed",
    ]


@pytest.mark.parametrize("body", [{"at": "2020-01-01T00:00:00Z"}, {"at": "2099-01-01T00:00:00Z"}])
def test_a_time_that_is_past_or_far_is_refused(team, body):
    answer = plan(team, **body)

    assert (answer.status_code, answer.json()["code"]) == (409, "time_passed")


@pytest.mark.parametrize("body", [{"at": "tomorrow"}, {"at": None}, {"act": "explode"}])
def test_a_plan_of_the_wrong_shape_is_refused(team, body):
    assert plan(team, **body).status_code == 400


def test_a_plan_may_ask_for_the_drafts_version(team):
    at = (timezone.now() + SOON).isoformat()

    assert team.editor.post(team.path("schedules"), {"at": at}, if_match=9).status_code == 412
    assert team.editor.post(team.path("schedules"), {"at": at}, if_match=1).status_code == 201


def test_a_site_has_so_many_plans(team):
    for _ in range(services.publishing.MAX_SCHEDULES):
        assert plan(team).status_code == 201

    assert plan(team).json()["code"] == "too_many_schedules"


def test_a_deleted_site_is_not_published_by_its_plan(team):
    plan(team)
    team.owner.delete(team.path(), if_match="*")
    due()

    publishing.publish_scheduled(now=timezone.now())

    assert shown(team) == (None, 0)


def test_the_revision_of_a_plan_outlives_thinning(team):
    team.save("Planned")
    plan(team)
    team.save("Later")
    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))
        kept = set(Revision.objects.filter(site=team.site).values_list("version", flat=True))

    assert kept == {2, 3}


def test_the_command_does_what_beat_does(team, capsys):
    plan(team)
    due()

    call_command("publish_scheduled")
    call_command("publish_scheduled")

    assert capsys.readouterr().out == "done=1\ndone=0\n"


def ask(team, who="author", note="Please"):
    return team.of(who).post(team.path("reviews"), {"note": note})


def test_an_author_may_not_publish_but_may_ask(team):
    team.save("Mine")
    assert team.author.post(team.path("publish")).json()["code"] == "site_role_too_low"

    review = ask(team).json()

    assert (review["state"], review["note"], review["draft_version"]) == ("open", "Please", 2)
    for person in (team.owner, team.editor):
        assert "A draft waits for your review" in deliver_and_read_mails(person.user.email)[0]
    assert deliver_and_read_mails(team.viewer.user.email) == []
    assert deliver_and_read_mails(team.author.user.email) == []


def test_approving_publishes_what_was_asked_about_and_nothing_newer(team):
    team.save("Asked")
    review = ask(team).json()["id"]
    team.save("Not asked")

    assert team.author.post(team.path(f"reviews/{review}/approve"), {}).status_code == 403
    answer = team.editor.post(team.path(f"reviews/{review}/approve"), {"comment": "Lovely"})

    assert (answer.status_code, shown(team)) == (201, ("Asked", 1))
    listed = team.viewer.get(team.path("reviews")).json()["results"][0]
    assert (listed["state"], listed["comment"], listed["editor"]) == (
        "approved",
        "Lovely",
        str(team.editor.user.pk),
    )
    assert "Your draft was published" in deliver_and_read_mails(team.author.user.email)[0]
    assert events(team, "review.asked", "site.published", "review.approved") == [
        "review.asked",
        "site.published",
        "review.approved",
    ]


def test_returning_takes_a_comment_and_leaves_what_is_published(team):
    team.save("Asked")
    review = ask(team).json()["id"]

    assert team.editor.post(team.path(f"reviews/{review}/return"), {}).status_code == 400
    answer = team.editor.post(team.path(f"reviews/{review}/return"), {"comment": "The prices are old"})

    assert (answer.json()["state"], shown(team)) == ("returned", (None, 0))
    assert "Your draft came back" in deliver_and_read_mails(team.author.user.email)[0]
    for verb in ("return", "approve"):
        again = team.editor.post(team.path(f"reviews/{review}/{verb}"), {"comment": "x"})
        assert (again.status_code, again.json()["code"]) == (409, "review_answered")
    assert ask(team).status_code == 201


@pytest.mark.commits
def test_one_review_is_open_at_a_time_and_two_editors_answer_it_once(team):
    review = ask(team).json()["id"]
    assert ask(team, who="editor").json()["code"] == "review_open"

    def answer(person):
        try:
            return person.post(team.path(f"reviews/{review}/approve"), {}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(answer, [team.owner, team.editor])) == [201, 409]
    assert shown(team)[1] == 1


def test_whoever_asked_or_an_editor_takes_a_review_back(team):
    first = ask(team, who="editor").json()["id"]
    assert team.author.delete(team.path(f"reviews/{first}")).status_code == 403
    assert team.editor.delete(team.path(f"reviews/{first}")).status_code == 204
    second = ask(team).json()["id"]
    assert team.author.delete(team.path(f"reviews/{second}")).status_code == 204
    with tenancy.context(tenancy.SYSTEM):
        assert set(Review.objects.values_list("state", flat=True)) == {"withdrawn"}


def test_asking_all_day_does_not_fill_a_mailbox(team):
    for _ in range(8):
        pk = ask(team).json()["id"]
        team.author.delete(team.path(f"reviews/{pk}"))

    assert len(deliver_and_read_mails(team.owner.user.email)) == 5


def test_an_empty_draft_can_neither_be_planned_nor_reviewed(team):
    team.author.put(team.path("blueprint"), document() | {"pages": []}, if_match="*")

    assert (plan(team).json()["code"], ask(team).json()["code"]) == ("site_empty", "site_empty")


@pytest.mark.commits
def test_a_plan_is_done_by_a_process_of_its_own(team):
    """The command in another process, twice at once, as two beats on two machines."""
    url = urlsplit(os.environ["DATABASE_URL"])
    environ = {
        **os.environ,
        "DATABASE_URL": url._replace(path=f"/{connection.settings_dict['NAME']}").geturl(),
    }
    plan(team)
    due()
    command = [sys.executable, "manage.py", "publish_scheduled"]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, cwd=settings.BASE_DIR)
        for _ in range(2)
    ]
    counts = sorted(process.communicate(timeout=60)[0].decode().strip() for process in running)

    assert counts == ["done=0", "done=1"]
    with tenancy.context(tenancy.SYSTEM):
        assert Schedule.objects.get().state == Job.State.DONE
