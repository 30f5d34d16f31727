"""Regressions of teams, schedules and posts that security reviews found: races, limits and lost rights."""

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.tests.calls import mails_to
from core import tenancy
from core.http import preconditions
from core.jobs import queue
from sites import services
from sites.models import Access, Preview, Revision, Schedule, Site
from sites.services import drafts, posts, publishing
from sites.services.members import INVITATIONS_A_DAY
from sites.tests.factories import SiteFactory
from sites.tests.test_posts import PAST, change, write
from sites.tests.test_previews import create_preview, preview_path
from sites.tests.test_publishing import due, events, plan, shown

pytestmark = pytest.mark.django_db


@pytest.fixture
def live(team):
    assert team.editor.post(team.path("publish")).status_code == 201
    return team


@pytest.mark.parametrize("pin", ["preview", "plan"])
def test_thin_revisions_ignores_previews_and_schedules_without_a_revision(live, pin):
    for title in ("One", "Two"):
        live.save(title)
    if pin == "preview":
        live.author.post(live.path("previews"), {})
    else:
        plan(live, act="unpublish")

    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))
        assert Revision.objects.filter(site=live.site).count() == 1


def test_thin_revisions_keeps_the_revision_of_a_claimed_schedule(live):
    live.save("Planned")
    plan(live)
    live.save("Later")
    due()
    (claimed,) = queue.claim(Schedule, now=timezone.now())
    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))
        assert Schedule.objects.count() == 1
    live.owner.delete(live.path(f"members/{live.editor.user.pk}"))

    assert queue.run(claimed, lambda: services.publishing._run(claimed), now=timezone.now())

    assert shown(live)[0] == "A site"
    assert "site.schedule_cancelled" in events(live, "site.schedule_cancelled")


@pytest.mark.parametrize("path", ["schedules", "reviews", "previews", "releases"])
@pytest.mark.commits
def test_list_views_do_not_load_blueprints(live, path, django_assert_max_num_queries):
    plan(live)
    live.author.post(live.path("reviews"), {})
    live.author.post(live.path("previews"), {})
    with django_assert_max_num_queries(5) as queries:
        assert live.owner.get(live.path(path)).status_code == 200
    assert not any('"blueprint"' in query["sql"] for query in queries.captured_queries)
    with django_assert_max_num_queries(5) as queries:
        assert live.owner.get("sites").status_code == 200
    assert not any('"blueprint"' in query["sql"] for query in queries.captured_queries)


def test_public_posts_accept_or_refuse_a_cursor_with_an_extreme_time_zone(live):
    for timestamp in ("2026-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"):
        cursor = base64.urlsafe_b64encode(json.dumps(["n", str(live.site.pk), timestamp]).encode()).decode()
        answer = Client().get(f"/api/v1/public/sites/{live.host}/posts", {"cursor": cursor})
        assert answer.status_code in {200, 400}


def run_while_site_is_locked(team, first, second):
    """Lock the site, start `first` and then `second` in other threads, and release the lock.

    Returns what `first` returned.
    """
    results = []
    locked = threading.Event()
    release = threading.Event()

    def hold_lock():
        with tenancy.context(tenancy.SYSTEM):
            Site.objects.select_for_update().get(pk=team.site.pk)
            locked.set()
            release.wait(10)
        connections.close_all()

    def run_first():
        results.append(first())
        connections.close_all()

    threads = [
        threading.Thread(target=hold_lock),
        threading.Thread(target=run_first),
        threading.Thread(target=lambda: (second(), connections.close_all())),
    ]
    threads[0].start()
    locked.wait(10)
    threads[1].start()
    time.sleep(0.4)
    threads[2].start()
    time.sleep(0.4)
    release.set()
    for thread in threads:
        thread.join(20)
    return results[0]


@pytest.mark.commits
def test_change_role_waits_for_a_publish_that_began_with_the_old_role(live):
    """So nothing is published after the answer that the role was changed."""
    order = []
    answer = run_while_site_is_locked(
        live,
        lambda: (live.editor.post(live.path("publish")), order.append("published"))[0],
        lambda: (
            live.owner.patch(live.path(f"members/{live.editor.user.pk}"), {"role": "author"}),
            order.append("demoted"),
        ),
    )

    assert (answer.status_code, order) == (201, ["published", "demoted"])
    assert live.editor.post(live.path("publish")).status_code == 403


@pytest.mark.commits
def test_transfer_and_change_role_in_parallel_do_not_deadlock(live):
    def act(number):
        try:
            if number % 2:
                return live.owner.patch(
                    live.path(f"members/{live.viewer.user.pk}"), {"role": "author"}
                ).status_code
            return live.owner.post(live.path("transfer"), {"member": str(live.editor.user.pk)}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        codes = set(pool.map(act, range(6)))
    assert codes <= {200, 403}
    assert Access.objects.filter(site=live.site, role="owner").count() == 1


def test_publish_scheduled_and_serve_preview_refuse_a_disabled_member(live, visitor):
    address = preview_path(create_preview(live, role="editor"))
    live.save("Planned")
    plan(live)
    due()
    User.objects.filter(pk=live.editor.user.pk).update(is_active=False)

    publishing.publish_scheduled(now=timezone.now())

    assert visitor.ask(address, live.host)[0] == 404
    assert shown(live)[0] == "A site"
    assert live.owner.get(live.path("schedules")).json()["results"][0]["refused"] == "author_gone"
    post = write(live, who="author")
    assert change(live, post, who="owner", author=str(live.editor.user.pk)).status_code == 400


def test_publish_scheduled_does_not_overwrite_a_newer_release(live):
    live.save("Old plan")
    plan(live)
    due()
    queue.claim(Schedule, now=timezone.now())  # a worker claims it and dies
    live.save("Newer")
    live.editor.post(live.path("publish"))

    publishing.publish_scheduled(now=timezone.now() + 2 * queue.LEASE)

    assert shown(live)[0] == "Newer"
    assert live.owner.get(live.path("schedules")).json()["results"][0]["refused"] == "overtaken"


def test_publish_scheduled_continues_after_a_cancelled_schedule(live, monkeypatch):
    live.save("Second")
    first = plan(live).json()["id"]
    _ = plan(live)
    due()
    real = services.publishing._run

    def run(planned):
        if str(planned.pk) == first:
            live.editor.delete(live.path(f"schedules/{first}"))
        return real(planned)

    monkeypatch.setattr(services.publishing, "_run", run)
    publishing.publish_scheduled(now=timezone.now())

    assert shown(live)[0] == "Second"


def test_create_post_takes_no_former_slug_of_a_live_post(live, visitor):
    post = write(live, slug="known", published_at=PAST)
    change(live, post, slug="moved")
    assert write(live, who="author", title="Known")["slug"] == "known-2"
    live.author.post(live.path("posts"), {"title": "x", "slug": "known"})

    assert visitor.ask("/blog/known", live.host)[1]["Location"] == "/blog/moved"


def test_change_post_and_publish_site_refuse_deleted_rows(live):
    post = write(live)
    stale = {"actor": services.publishing.SYSTEM, "role": Access.Role.OWNER}
    with tenancy.context(tenancy.SYSTEM):
        row = services.posts.Post.objects.select_related("site").get(pk=post["id"])
        site = Site.objects.get(pk=live.site.pk)
    live.editor.delete(live.path(f"posts/{post['id']}"), if_match="*")
    live.owner.delete(live.path(), if_match="*")

    any_version = preconditions.IfMatch(None)
    with tenancy.context(tenancy.SYSTEM):
        with pytest.raises(Site.DoesNotExist):
            posts.change_post(row, {"title": "x"}, if_match=any_version, now=timezone.now(), **stale)
        with pytest.raises(Site.DoesNotExist):
            publishing.publish_site(site, actor=stale["actor"], if_match=any_version)


@pytest.mark.commits
def test_purge_posts_leaves_a_post_that_was_restored_meanwhile(live, monkeypatch):
    post = write(live)
    live.editor.delete(live.path(f"posts/{post['id']}"), if_match="*")
    tomorrow = timezone.now() + timedelta(days=1)
    real = services.posts.transaction.atomic
    restored = []

    def atomic(*options):
        if not restored:
            restored.append(True)
            with ThreadPoolExecutor(1) as pool:
                assert (
                    pool.submit(live.editor.post, live.path(f"posts/{post['id']}/restore"))
                    .result()
                    .status_code
                    == 200
                )
                pool.submit(connections.close_all)
        return real(*options)

    monkeypatch.setattr(services.posts.transaction, "atomic", atomic)
    with tenancy.context(tenancy.SYSTEM):
        assert posts.purge_posts(tomorrow) == 0
    assert live.editor.get(live.path(f"posts/{post['id']}")).status_code == 200


@pytest.mark.parametrize("name", ["Ring\n\n0900", "a\u202eb", "a\u2028b", "\x07", "a\x85b"])
def test_change_site_refuses_invisible_characters_in_the_name(team, name):
    assert team.owner.patch(team.path(), {"name": name}, if_match="*").status_code == 400


@pytest.mark.parametrize("name", ["evil。com", "a.b", "x@y", "http://x", "Call: 1", "win/now"])
def test_invite_member_mails_no_site_name_that_looks_like_a_link(team, name):
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.filter(pk=team.site.pk).update(name=name)
    team.owner.post(team.path("invitations"), {"email": "guest@example.com", "role": "viewer"})

    text = mails_to("guest@example.com")[0]
    assert name not in text
    assert team.host in text


@pytest.mark.commits
def test_invite_member_limits_parallel_invitations_from_two_sites(team, monkeypatch):
    monkeypatch.setattr(services.members, "INVITATIONS_A_DAY", 4)
    assert INVITATIONS_A_DAY > 4
    sites = [team.site, SiteFactory(owner=team.owner.user)]

    def invite(number):
        try:
            body = {"email": f"guest{number}@example.com", "role": "viewer"}
            return team.owner.post(f"sites/{sites[number % 2].pk}/invitations", body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(invite, range(12)))
    assert codes == [201] * 4 + [429] * 8


def test_remove_member_records_the_revoked_previews_and_schedules(live):
    create_preview(live, role="editor")
    plan(live)
    live.owner.delete(live.path(f"members/{live.editor.user.pk}"))

    assert events(live, "preview.revoked", "site.schedule_cancelled") == [
        "site.schedule_cancelled",
        "preview.revoked",
    ]
    with tenancy.context(tenancy.SYSTEM):
        assert Preview.objects.count() == 0
