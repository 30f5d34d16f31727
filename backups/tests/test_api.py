"""Backups over HTTP and in the admin: for whoever may, and nobody else."""

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Role
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.models import Entry
from backups.models import BackupRun, Check
from backups.services import erasure_tombstones, worker
from backups.tests.test_runs import folder, take  # noqa: F401 - folder is a fixture
from conftest import PASSWORD, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff():
    return sign_in(UserFactory(role="admin"))


@pytest.fixture
def admin(password_hash):
    person = UserFactory(email="backups-admin@example.com", role="admin", password=password_hash)
    client = Client()
    client.post("/admin/login/", {"username": person.email, "password": PASSWORD})
    return client


def test_staff_ask_look_and_prove(staff):
    asked = staff.post("backups")
    assert (asked.status_code, asked.json()["status"]) == (202, "queued")
    assert staff.post("backups").json()["id"] == asked.json()["id"]
    worker.work(now=timezone.now())

    found = staff.get("backups").json()["results"]
    assert [(row["id"], row["status"], row["kind"]) for row in found] == [
        (asked.json()["id"], "done", "full")
    ]
    assert staff.get(asked["Location"]).json()["checks"]
    look = staff.post(f"backups/{asked.json()['id']}/verify")
    assert (look.status_code, look.json()["kind"], look.json()["status"]) == (202, "verify", "queued")
    assert staff.post(f"backups/{asked.json()['id']}/verify").json()["id"] == look.json()["id"]
    worker.work(now=timezone.now())
    assert Check.objects.get(pk=look.json()["id"]).status == "done"
    facts = staff.get("backups/overview").json()
    assert (facts["warnings"], facts["prunes"], facts["readable_here"]) == ([], [], True)
    assert facts["newest_proven_at"] == facts["newest_good_at"] is not None


def test_the_overview_says_what_is_wrong(staff, settings):
    assert staff.get("backups/overview").json()["warnings"] == ["There is no backup yet."]
    run = take()
    assert any("proven" in text for text in staff.get("backups/overview").json()["warnings"])
    BackupRun.objects.filter(pk=run.pk).update(taken_at=timezone.now() - 3 * settings.BACKUP_EVERY)
    assert any(
        text.startswith("The newest good backup is of")
        for text in staff.get("backups/overview").json()["warnings"]
    )
    settings.BACKUP_STORE_URL = "s3://a:b@nowhere/?endpoint=http://127.0.0.1:9"
    assert "The store of backups does not answer." in staff.get("backups/overview").json()["warnings"]


def test_others_see_nothing_and_readers_start_nothing(api):
    run = take()
    paths = [
        ("get", "backups"),
        ("post", "backups"),
        ("get", "backups/overview"),
        ("get", f"backups/{run.pk}"),
        ("post", f"backups/{run.pk}/drill"),
    ]
    assert [getattr(api, method)(path).status_code for method, path in paths] == [403] * 5
    Role.objects.create(name="watcher", permissions=["backups.read"])
    reader = sign_in(UserFactory(role="watcher"))
    assert [getattr(reader, method)(path).status_code for method, path in paths] == [200, 403, 200, 200, 403]


def test_a_backup_that_is_none_is_refused(staff):
    run = BackupRun.objects.create(status="failed", error="It was away.")
    gone = BackupRun.objects.create(
        status="done", name="x", taken_at=timezone.now(), pruned_at=timezone.now()
    )

    for row in (run, gone):
        assert staff.post(f"backups/{row.pk}/drill").json()["code"] == "not_restorable"


@pytest.mark.parametrize("rows", [1, 3])
def test_the_list_costs_the_same_for_many(staff, rows, django_assert_num_queries):
    BackupRun.objects.bulk_create([BackupRun(status="failed") for _ in range(rows)])

    staff.get("backups")  # whether the session holds is known afterwards
    with django_assert_num_queries(3):  # the caller's row and roles, the page
        assert len(staff.get("backups").json()["results"]) == rows


def test_the_admin_has_a_chart_and_buttons_that_are_recorded(admin):
    page = admin.get("/admin/backups/backuprun/").content.decode()
    assert "There is no backup yet." in page
    assert admin.post("/admin/backups/backuprun/now/").status_code == 302
    assert admin.get("/admin/backups/backuprun/now/").status_code == 405
    worker.work(now=timezone.now())
    run = BackupRun.objects.get()
    take()

    page = admin.get("/admin/backups/backuprun/").content.decode()
    assert ("proven by restoring" in page, "There is no backup yet." in page) == (True, False)
    admin.post("/admin/backups/backuprun/", {"action": "verify", "_selected_action": [str(run.pk)]})
    assert Check.objects.filter(run=run, kind="verify", status="queued").count() == 1
    assert {
        entry.actor_kind for entry in Entry.objects.filter(event__in=["backup.queued", "backup.check_queued"])
    } >= {"staff"}
    for path in ("check", "siterestore"):
        assert admin.get(f"/admin/backups/{path}/").status_code == 200


def test_measures_tell_when_and_how_much():
    from core.observability import metrics

    take()
    worker.work(now=timezone.now())

    lines = metrics.exposition().decode().splitlines()
    values = dict(
        line.rsplit(" ", 1) for line in lines if line.startswith("getyousite_backup_") and "{" not in line
    )
    assert timezone.now().timestamp() - float(values["getyousite_backup_newest_good_timestamp_seconds"]) < 600
    assert float(values["getyousite_backup_newest_proven_timestamp_seconds"]) > 0
    assert float(values["getyousite_backup_stored_bytes"]) > 0


def test_erased_people_are_remembered_in_the_store_and_erased_again(folder):  # noqa: F811
    from accounts.models import User
    from accounts.services.erasure import close_and_erase
    from backups.models import Tombstone

    person = UserFactory()
    facts = User.objects.filter(pk=person.pk).values().get()
    close_and_erase(person.email, actor=SYSTEM, now=timezone.now())
    assert erasure_tombstones.mirror(now=timezone.now()) == 1
    assert erasure_tombstones.mirror(now=timezone.now()) == 0
    assert [path.name for path in (folder / "tombstones").iterdir()] == [str(person.pk)]
    assert person.email.encode() not in (folder / "tombstones" / str(person.pk)).read_bytes()

    Tombstone.objects.all().delete()
    User.objects.create(**facts)  # as a restore would
    assert erasure_tombstones.obey(now=timezone.now()) == 1
    assert not User.objects.get_queryset().filter(pk=person.pk).exists()
    assert erasure_tombstones.obey(now=timezone.now()) == 0
    assert Entry.objects.filter(event="user.purged", owner_id=person.pk).count() == 2
