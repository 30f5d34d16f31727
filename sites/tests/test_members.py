"""Members: what each role may do, changes of a role, removal, and the transfer of a site."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from accounts.models import Session
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails
from conftest import sign_in
from core import tenancy
from core.jobs import queue
from sites.models import Access, Draft, Post, Preview, Schedule, Site
from sites.services import drafts, publishing, sites
from sites.tests.api_calls import (
    audit_events,
    create_preview,
    create_schedule,
    live_title_and_release_count,
    make_schedules_due,
)
from sites.tests.factories import SiteFactory
from tests.operations import OPERATIONS, prepare_operation
from tests.world import new_world

pytestmark = pytest.mark.django_db
SITE_OPERATIONS = [(method, path) for method, path in OPERATIONS if path.startswith("/api/v1/sites/{id}")]
RANKS = ["viewer", "author", "editor", "owner"]
# Operations that check more than the role; other tests cover them.
OPERATIONS_WITH_FURTHER_CHECKS = {
    ("delete", "/api/v1/sites/{id}/members/{member}"),
    ("delete", "/api/v1/sites/{id}/reviews/{review}"),
    ("patch", "/api/v1/sites/{id}/posts/{post_id}"),
    ("delete", "/api/v1/sites/{id}/posts/{post_id}"),
    ("post", "/api/v1/sites/{id}/posts/{post_id}/restore"),
    ("post", "/api/v1/sites/{id}/posts"),
}


def required_roles():
    """Return the lowest role that may do each operation, as the views declare it."""
    from accounts.management.commands.permission_matrix import list_operations

    return {
        (item.method.lower(), item.path): item.policy.site_role
        for item in list_operations()
        if item.policy.site_role
    }


@pytest.mark.parametrize(("method", "path"), SITE_OPERATIONS, ids=lambda part: part)
def test_site_scoped_viewset_enforces_the_role_of_each_operation(method, path, password_hash):
    world = new_world(password_hash, role="user")
    address, body = prepare_operation(method, path, world)
    required_role = required_roles()[method, path]
    unexpected = {}
    for role in RANKS[: RANKS.index(required_role)]:
        member = sign_in(UserFactory())
        with tenancy.context(tenancy.SYSTEM):
            Access.objects.create(site=world.site, user=member.user, role=role)
        response = member.call(method.upper(), address, body, if_match="*")
        if (response.status_code, response.json().get("code")) != (403, "site_role_too_low"):
            unexpected[role] = response.status_code

    # `tests/test_matrix.py` covers the owner.
    if required_role != "owner" and (method, path) not in OPERATIONS_WITH_FURTHER_CHECKS:
        with tenancy.context(tenancy.SYSTEM):
            Access.objects.filter(site=world.site, user=world.api.user).update(role=required_role)
        response = world.api.call(method.upper(), address, body, if_match="*")
        if not 200 <= response.status_code < 300:
            unexpected[required_role] = (response.status_code, response.content[:200])
    assert unexpected == {}


def test_row_level_security_lets_viewers_read_but_not_write(team):
    with tenancy.context(tenancy.user_context(team.viewer.user.pk)):
        assert Draft.objects.filter(site=team.site).exists()
        assert Site.objects.filter(pk=team.site.pk).update(name="x") == 0
        assert Draft.objects.filter(site=team.site).update(version=9) == 0
        assert Draft.objects.filter(site=team.site).delete()[0] == 0
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Post.objects.create(site=team.site, title="x", slug="x")
    with tenancy.context(tenancy.user_context(team.author.user.pk)):
        assert Draft.objects.filter(site=team.site).update(version=2) == 1


def test_list_members_shows_every_role(team):
    listed = team.viewer.get(team.path("members")).json()["results"]

    assert {(row["name"], row["role"]) for row in listed} == {
        ("The owner", "owner"),
        ("The editor", "editor"),
        ("The author", "author"),
        ("The viewer", "viewer"),
    }
    assert {row["role"] for row in team.author.get("sites").json()["results"]} == {"author"}


def test_remove_member_deletes_previews_and_schedules(team):
    editor = team.editor
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    editor.post(team.path("schedules"), {"at": at})
    editor.post(team.path("previews"), {})
    assert editor.get(team.path()).status_code == 200  # this response is cached

    assert team.owner.delete(team.path(f"members/{editor.user.pk}")).status_code == 204

    assert (editor.get(team.path()).status_code, editor.get("sites").json()["results"]) == (404, [])
    with tenancy.context(tenancy.SYSTEM):
        assert (Schedule.objects.count(), Preview.objects.count()) == (0, 0)


def test_cancel_pending_work_of_deletes_previews_and_schedules(team):
    team.editor.post(team.path("schedules"), {"at": (timezone.now() + timedelta(hours=1)).isoformat()})
    team.editor.post(team.path("previews"), {})

    assert team.editor.delete("auth/me", if_match="*").status_code == 204

    with tenancy.context(tenancy.SYSTEM):
        assert (Schedule.objects.count(), Preview.objects.count()) == (0, 0)
    assert {row["role"] for row in team.owner.get(team.path("members")).json()["results"]} == {
        "owner",
        "author",
        "viewer",
    }


def test_change_role_deletes_work_that_the_new_role_forbids(team):
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    team.editor.post(team.path("schedules"), {"at": at})
    team.editor.post(team.path("previews"), {})

    changed = team.owner.patch(team.path(f"members/{team.editor.user.pk}"), {"role": "author"})

    assert changed.json()["role"] == "author"
    assert team.editor.post(team.path("publish")).status_code == 403
    with tenancy.context(tenancy.SYSTEM):
        assert (Schedule.objects.count(), Preview.objects.count()) == (0, 1)


def test_remove_member_lets_everyone_leave_except_the_owner(team):
    assert team.viewer.delete(team.path(f"members/{team.viewer.user.pk}")).status_code == 204
    assert team.viewer.get(team.path()).status_code == 404
    assert team.editor.delete(team.path(f"members/{team.author.user.pk}")).status_code == 403
    response = team.owner.delete(team.path(f"members/{team.owner.user.pk}"))
    assert (response.status_code, response.json()["code"]) == (409, "owner_stays")
    demoted = team.owner.patch(team.path(f"members/{team.owner.user.pk}"), {"role": "viewer"})
    assert demoted.json()["code"] == "owner_stays"
    assert team.owner.delete(team.path(f"members/{team.stranger.user.pk}")).status_code == 404


def test_transfer_site_makes_a_member_the_only_owner(team):
    response = team.owner.post(team.path("transfer"), {"member": str(team.viewer.user.pk)})

    assert (response.status_code, response.json()["role"]) == (200, "editor")
    assert team.viewer.get(team.path()).json()["role"] == "owner"
    assert team.owner.delete(team.path(), if_match="*").status_code == 403
    assert "You transferred a website" in deliver_and_read_mails(team.owner.user.email)[-1]
    assert "You are now the owner of a website" in deliver_and_read_mails(team.viewer.user.email)[-1]
    assert team.owner.delete("auth/me", if_match="*").status_code == 204
    assert team.viewer.get(team.path()).status_code == 200  # the site belongs to the new owner
    assert team.viewer.delete(team.path(), if_match="*").status_code == 204


def test_transfer_site_needs_a_member_and_a_recent_proof(team):
    for user_id in (team.stranger.user.pk, team.owner.user.pk):
        assert team.owner.post(team.path("transfer"), {"member": str(user_id)}).json()["code"] == "not_member"
    Session.objects.filter(pk=team.owner.session.pk).update(proved_at=timezone.now() - timedelta(hours=1))
    response = team.owner.post(team.path("transfer"), {"member": str(team.editor.user.pk)})
    assert (response.status_code, response.json()["code"]) == (403, "reauthentication_required")


def test_transfer_site_respects_the_limit_of_sites(team, monkeypatch):
    monkeypatch.setattr(sites, "MAX_SITES", 1)
    SiteFactory(owner=team.viewer.user)

    assert (
        team.owner.post(team.path("transfer"), {"member": str(team.viewer.user.pk)}).json()["code"]
        == "too_many_sites"
    )


@pytest.mark.commits
def test_transfer_site_leaves_one_owner_after_parallel_requests(team):
    def transfer_to(member):
        try:
            return team.owner.post(team.path("transfer"), {"member": str(member.user.pk)}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        codes = sorted(pool.map(transfer_to, [team.editor, team.viewer]))

    assert codes[0] == 200
    assert codes[1] in {403, 404}
    assert Access.objects.filter(site=team.site, role="owner").count() == 1
    with tenancy.context(tenancy.SYSTEM):
        assert (
            Site.objects.get(pk=team.site.pk).owner_id
            == Access.objects.get(site=team.site, role="owner").user_id
        )


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.commits
def test_list_members_runs_the_same_queries_for_any_number_of_rows(rows, team, django_assert_num_queries):
    Access.objects.filter(site=team.site).exclude(role="owner").delete()
    for _ in range(rows):
        Access.objects.create(site=team.site, user=UserFactory(), role="viewer")
    team.owner.get("auth/me")

    with django_assert_num_queries(5):  # begin, context, site, members, commit
        assert len(team.owner.get(team.path("members")).json()["results"]) == rows + 1


def run_while_site_is_locked(team, send_request, concurrent_action):
    """Send a request while another transaction holds the site's lock. Returns its response.

    `concurrent_action` starts in a third thread after the request and before the lock is released.
    """
    response = []
    locked = threading.Event()
    release_lock = threading.Event()

    def hold_lock():
        with tenancy.context(tenancy.SYSTEM):
            Site.objects.select_for_update().get(pk=team.site.pk)
            locked.set()
            release_lock.wait(10)
        connections.close_all()

    def run_request():
        response.append(send_request())
        connections.close_all()

    lock_thread = threading.Thread(target=hold_lock)
    request_thread = threading.Thread(target=run_request)
    lock_thread.start()
    locked.wait(10)
    request_thread.start()
    time.sleep(0.4)
    concurrent_thread = threading.Thread(target=lambda: (concurrent_action(), connections.close_all()))
    concurrent_thread.start()
    time.sleep(0.4)
    release_lock.set()
    for thread in (lock_thread, request_thread, concurrent_thread):
        thread.join(20)
    return response[0]


@pytest.mark.commits
def test_change_role_waits_for_a_running_publish(live_team):
    order = []
    response = run_while_site_is_locked(
        live_team,
        lambda: (live_team.editor.post(live_team.path("publish")), order.append("published"))[0],
        lambda: (
            live_team.owner.patch(live_team.path(f"members/{live_team.editor.user.pk}"), {"role": "author"}),
            order.append("demoted"),
        ),
    )

    assert (response.status_code, order) == (201, ["published", "demoted"])
    assert live_team.editor.post(live_team.path("publish")).status_code == 403


@pytest.mark.commits
def test_change_role_and_transfer_site_do_not_deadlock(live_team):
    def send_request(number):
        try:
            if number % 2:
                return live_team.owner.patch(
                    live_team.path(f"members/{live_team.viewer.user.pk}"), {"role": "author"}
                ).status_code
            return live_team.owner.post(
                live_team.path("transfer"), {"member": str(live_team.editor.user.pk)}
            ).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        codes = set(pool.map(send_request, range(6)))
    assert codes <= {200, 403}
    assert Access.objects.filter(site=live_team.site, role="owner").count() == 1


def test_remove_member_records_deleted_previews_and_schedules(live_team):
    create_preview(live_team, role="editor")
    create_schedule(live_team)
    live_team.owner.delete(live_team.path(f"members/{live_team.editor.user.pk}"))

    assert audit_events(live_team, "preview.revoked", "site.schedule_cancelled") == [
        "site.schedule_cancelled",
        "preview.revoked",
    ]
    with tenancy.context(tenancy.SYSTEM):
        assert Preview.objects.count() == 0


def test_remove_member_deletes_a_claimed_schedule(live_team):
    live_team.save_draft("Planned")
    create_schedule(live_team)
    live_team.save_draft("Later")
    make_schedules_due()
    claimed = queue.claim(Schedule, now=timezone.now())
    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))
        assert Schedule.objects.count() == 1
    live_team.owner.delete(live_team.path(f"members/{live_team.editor.user.pk}"))

    assert queue.run(claimed, publishing._run_schedule, now=timezone.now())

    assert live_title_and_release_count(live_team)[0] == "A site"
    assert "site.schedule_cancelled" in audit_events(live_team, "site.schedule_cancelled")
