"""Restoring one site as a new draft, without changing other sites or bringing back revoked access."""

import json
import uuid
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from accounts.services import erasure
from accounts.tests.factories import UserFactory
from analytics.models import Annotation, Definition, Share
from audit.actors import SYSTEM
from audit.models import Entry
from backups.models import BackupRun, SiteRestore
from backups.services import runs, site_restores, worker
from backups.tests.helpers import execute_backup
from conftest import sign_in
from core import quotas, tenancy
from sites.models import Access, Draft, Invitation, Post, Preview, Release, Revision, Site
from sites.services.members import transfer_site
from sites.services.sites import purge_queryset
from sites.tests.factories import SiteFactory, document, page

pytestmark = [pytest.mark.django_db, pytest.mark.commits, pytest.mark.usefixtures("backup_folder")]
SITE_MODELS = (
    Site,
    Draft,
    Release,
    Revision,
    Post,
    Access,
    Invitation,
    Preview,
    Definition,
    Annotation,
    Share,
)


def site_rows(site_id):
    """All rows of a site, by model name."""
    with tenancy.context(tenancy.SYSTEM):
        return {
            model.__name__: list(
                model.objects.filter(**{"pk" if model is Site else "site": site_id}).order_by("pk").values()
            )
            for model in SITE_MODELS
        }


@pytest.fixture
def bakery(api):
    """A published site with a row in every kind of table."""
    site = SiteFactory(owner=api.user, name="Bakery", blueprint=document(page("/"), page("/menu")))
    assert api.post(f"sites/{site.pk}/publish").status_code == 201
    for title in ("Rye", "Spelt", "Wheat"):
        post = {"title": title, "published_at": "2020-01-01T00:00:00Z"}
        assert api.post(f"sites/{site.pk}/posts", post).status_code == 201
    api.post(f"sites/{site.pk}/analytics/goals", {"name": "Menu", "conditions": ["page:is:/menu"]})
    api.post(f"sites/{site.pk}/analytics/shares", {"name": "For the board"})
    api.post(f"sites/{site.pk}/previews", {})
    api.post(f"sites/{site.pk}/invitations", {"email": "guest@example.com", "role": "editor"})
    api.post(f"sites/{site.pk}/schedules", {"at": (timezone.now() + timedelta(days=1)).isoformat()})
    return site


def replace_content(api, site):
    """Overwrite the draft and delete all posts."""
    blueprint = document(page("/oops"))
    assert api.put(f"sites/{site.pk}/blueprint", blueprint, if_match="*").status_code == 200
    with tenancy.context(tenancy.SYSTEM):
        for post in Post.objects.filter(site=site):
            post.delete()


def restore_over_api(api, site, run):
    """Request a restore and run it. Returns the finished restore."""
    response = api.post(f"sites/{site.pk}/restore-points/{run.pk}/restore")
    assert response.status_code == 202, response.content
    site_restores.run_pending_site_restores(now=timezone.now())
    (site_restore,) = api.get(f"sites/{site.pk}/restores").json()["results"]
    return site_restore


def test_restore_site_creates_a_draft_and_leaves_all_sites_unchanged(api, other, bakery):
    foreign_site = SiteFactory(owner=other.user, name="Site of another owner")
    run = execute_backup()
    backed_up = site_rows(bakery.pk)
    replace_content(api, bakery)
    bakery_before = site_rows(bakery.pk)
    foreign_before = site_rows(foreign_site.pk)

    points = api.get(f"sites/{bakery.pk}/restore-points").json()["results"]
    assert [point["id"] for point in points] == [str(run.pk)]
    site_restore = restore_over_api(api, bakery, run)
    assert (site_restore["status"], site_restore["restore_point"]) == ("done", str(run.pk))

    draft = api.get(f"sites/{site_restore['site']}").json()
    assert (draft["status"], draft["name"][:8]) == ("draft", "Bakery (")
    assert draft["subdomain"].startswith(f"{bakery.subdomain}-")
    restored = site_rows(uuid.UUID(site_restore["site"]))
    assert restored["Draft"][0]["blueprint"] == backed_up["Draft"][0]["blueprint"]
    assert [post["title"] for post in restored["Post"]] == [post["title"] for post in backed_up["Post"]]
    assert [release["number"] for release in restored["Release"]] == [1]
    assert [goal["name"] for goal in restored["Definition"]] == ["Menu"]
    assert len(restored["Revision"]) == len(backed_up["Revision"])
    assert [access["user_id"] for access in restored["Access"]] == [api.user.pk]
    assert (restored["Invitation"], restored["Preview"], restored["Share"]) == ([], [], [])
    old_ids = {name: {row["id"] for row in rows if "id" in row} for name, rows in backed_up.items()}
    assert not any(old_ids[name] & {row.get("id") for row in rows} for name, rows in restored.items())
    assert site_rows(bakery.pk) == bakery_before
    assert site_rows(foreign_site.pk) == foreign_before

    assert api.post(f"sites/{site_restore['site']}/publish").status_code == 201
    assert Entry.objects.filter(event="site.brought_back", site_id=site_restore["site"]).count() == 1


def test_restore_site_counts_its_bytes_and_fails_when_the_owner_has_no_room(api, bakery, settings):
    run = execute_backup()
    used = quotas.usage_of(api.user.pk).used
    settings.OWNER_QUOTA_BYTES = 2 * used - 1

    assert restore_over_api(api, bakery, run)["status"] == "failed"
    assert "has no room" in SiteRestore.objects.get().error
    assert quotas.usage_of(api.user.pk).used == used
    SiteRestore.objects.all().delete()
    settings.OWNER_QUOTA_BYTES = 2 * used
    assert restore_over_api(api, bakery, run)["status"] == "done"

    assert quotas.usage_of(api.user.pk).used == 2 * used
    assert quotas.recount(api.user.pk, dry_run=True) is None


def test_restore_site_brings_back_neither_erased_authors_nor_removed_members(api, bakery):
    author = UserFactory()
    removed_member = UserFactory()
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=bakery, user=removed_member, role="editor")
        Post.objects.filter(site=bakery).update(author=author)
    run = execute_backup()
    erasure.close_and_erase(author.email, actor=SYSTEM, now=timezone.now())
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.filter(site=bakery, user=removed_member).delete()

    site_restore = restore_over_api(api, bakery, run)

    assert site_restore["status"] == "done"
    restored = site_rows(uuid.UUID(site_restore["site"]))
    assert {post["author_id"] for post in restored["Post"]} == {None}
    assert {access["user_id"] for access in restored["Access"]} == {api.user.pk}
    assert not User.objects.get_queryset().filter(pk=author.pk).exists()


def test_restore_site_that_fails_changes_nothing_and_records_the_error(api, bakery, monkeypatch):
    run = execute_backup()
    monkeypatch.setattr("sites.services.sites.MAX_SITES", 1)
    before = site_rows(bakery.pk)

    site_restore = restore_over_api(api, bakery, run)

    assert (site_restore["status"], site_restore["site"]) == ("failed", None)
    assert site_rows(bakery.pk) == before
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.filter(owner=api.user).count() == 1
    assert SiteRestore.objects.get().error


def test_site_restore_command_restores_a_deleted_site(api, bakery, capsys):
    run = execute_backup()
    backed_up = site_rows(bakery.pk)
    api.delete(f"sites/{bakery.pk}", if_match="*")
    with tenancy.context(tenancy.SYSTEM):
        assert purge_queryset(Site.objects.filter(pk=bakery.pk)) == 1

    call_command("site_restore", str(bakery.pk), "--at", timezone.now().isoformat(), "--json")

    result = json.loads(capsys.readouterr().out)
    assert result["run"] == run.pk.hex
    restored = site_rows(uuid.UUID(result["site"]))
    assert restored["Draft"][0]["blueprint"] == backed_up["Draft"][0]["blueprint"]


def test_site_restore_command_names_what_does_not_exist(bakery):
    execute_backup()
    now = timezone.now().isoformat()

    with pytest.raises(CommandError, match="no backup at or before that time"):
        call_command("site_restore", str(bakery.pk), "--at", "2020-01-01T00:00Z")
    with pytest.raises(CommandError, match="did not exist"):
        call_command("site_restore", str(uuid.uuid4()), "--at", now)
    with pytest.raises(CommandError, match="There is no site"):
        call_command("site_restore", "nothing-here", "--at", now)

    assert SiteRestore.objects.filter(status="running").count() == 0


def test_queue_site_restore_is_for_owners_and_for_backups_of_this_site(api, other, bakery, settings):
    too_old = execute_backup()
    BackupRun.objects.filter(pk=too_old.pk).update(taken_at=bakery.created_at - timedelta(seconds=1))
    run = execute_backup()
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=bakery, user=other.user, role="editor")

    path = f"sites/{bakery.pk}/restore-points"
    editor_responses = [other.get(path), other.post(path), other.post(f"{path}/{run.pk}/restore")]
    assert [response.status_code for response in editor_responses] == [403] * 3
    assert sign_in(UserFactory()).post(f"{path}/{run.pk}/restore").status_code == 404
    assert api.post(f"{path}/{too_old.pk}/restore").status_code == 404
    first = api.post(f"{path}/{run.pk}/restore")
    second = api.post(f"{path}/{run.pk}/restore")
    assert (first.status_code, second.status_code, second.json()["code"]) == (202, 409, "restore_under_way")
    SiteRestore.objects.all().delete()
    settings.BACKUP_KEYS = []
    assert api.post(f"{path}/{run.pk}/restore").json()["code"] == "key_elsewhere"


def test_request_restore_point_returns_a_recent_backup(api, bakery):
    first, second = (api.post(f"sites/{bakery.pk}/restore-points").json() for _ in range(2))

    assert first["id"] == second["id"]
    worker.run_pending_jobs(now=timezone.now())
    early = api.post(f"sites/{bakery.pk}/restore-points")
    assert early.json()["code"] == "restore_point_later", (
        "a change may have been committed after the snapshot"
    )
    BackupRun.objects.update(taken_at=F("taken_at") + site_restores.COMMIT_MARGIN)
    assert api.post(f"sites/{bakery.pk}/restore-points").json()["id"] == first["id"]
    assert BackupRun.objects.count() == 1


def test_request_restore_point_never_returns_a_backup_without_the_last_change(api, bakery, settings):
    path = f"sites/{bakery.pk}/restore-points"
    first = api.post(path).json()["id"]
    worker.run_pending_jobs(now=timezone.now())
    replace_content(api, bakery)

    later = api.post(path)

    assert (later.status_code, later.json()["code"]) == (409, "restore_point_later")
    last_run = BackupRun.objects.get(pk=first)
    assert datetime.fromisoformat(later.json()["next_at"]) == last_run.created_at + settings.BACKUP_EVERY
    BackupRun.objects.update(created_at=timezone.now() - settings.BACKUP_EVERY)
    assert api.post(path).json()["status"] == "queued"
    assert api.post(path).json()["id"] != first


def test_request_restore_point_starts_one_backup_for_all_owners(api, other, bakery):
    other_site = SiteFactory(owner=other.user)
    api.post(f"sites/{bakery.pk}/restore-points")
    worker.run_pending_jobs(now=timezone.now())
    other.patch(f"sites/{other_site.pk}", {"name": "Changed"}, if_match="*")

    response = other.post(f"sites/{other_site.pk}/restore-points")

    assert response.json()["code"] == "restore_point_later"
    assert BackupRun.objects.count() == 1


@pytest.fixture
def handed_over(api, other, bakery):
    """A function that makes `other` the owner of the bakery."""
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=bakery, user=other.user, role="editor")

    def hand_over():
        with tenancy.context(tenancy.SYSTEM):
            transfer_site(Site.objects.get(pk=bakery.pk), other.user.pk, actor=SYSTEM)

    return hand_over


def test_restore_points_of_a_former_owner_are_hidden_from_the_new_owner(api, other, bakery, handed_over):
    former = execute_backup()
    restore_over_api(api, bakery, former)
    handed_over()
    path = f"sites/{bakery.pk}/restore-points"
    assert other.get(path).json()["results"] == []
    assert other.post(f"{path}/{former.pk}/restore").status_code == 404
    assert other.get(f"sites/{bakery.pk}/restores").json()["results"] == []

    own = execute_backup()

    assert [point["id"] for point in other.get(path).json()["results"]] == [str(own.pk)]
    assert restore_over_api(other, bakery, own)["status"] == "done"


def test_restore_that_was_queued_before_a_transfer_is_refused(api, bakery, handed_over):
    run = execute_backup()
    assert api.post(f"sites/{bakery.pk}/restore-points/{run.pk}/restore").status_code == 202
    handed_over()

    site_restores.run_pending_site_restores(now=timezone.now())

    site_restore = SiteRestore.objects.get()
    assert (site_restore.status, "another owner" in site_restore.error) == ("failed", True)
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.count() == 1


def test_run_pending_site_restores_runs_beside_a_backup_and_fails_killed_restores(api, bakery):
    run = execute_backup()
    SiteRestore.objects.create(site_id=bakery.pk, run=run, status="running")
    with runs.worker_lock() as acquired:
        assert acquired
        site_restores.run_pending_site_restores(now=timezone.now())
        killed = SiteRestore.objects.get()
        assert (killed.status, "killed" in killed.error) == ("failed", True)
        api.post(f"sites/{bakery.pk}/restore-points/{run.pk}/restore")

        assert site_restores.run_pending_site_restores(now=timezone.now()) == 1

    assert SiteRestore.objects.filter(status="done").count() == 1


@pytest.mark.parametrize("rows", [1, 3])
def test_list_restore_points_has_a_constant_number_of_queries(api, bakery, rows, django_assert_num_queries):
    taken_at = timezone.now()
    for number in range(rows):
        BackupRun.objects.create(status="done", name=f"runs/{number}", taken_at=taken_at)

    with django_assert_num_queries(5):  # the context and its savepoint, the site with the role, the page
        assert len(api.get(f"sites/{bakery.pk}/restore-points").json()["results"]) == rows
