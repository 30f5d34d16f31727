"""Backup endpoints for staff."""

import pytest
from django.utils import timezone

from accounts.models import Role
from accounts.tests.factories import UserFactory
from backups.models import BackupRun, Check
from backups.services import worker
from backups.tests.helpers import execute_backup
from conftest import sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("backup_folder")]


@pytest.fixture
def staff():
    return sign_in(UserFactory(role="admin"))


def test_create_backup_queues_one_run(staff):
    created = staff.post("backups")
    repeated = staff.post("backups")
    assert (created.status_code, created.json()["status"]) == (202, "queued")
    assert repeated.json()["id"] == created.json()["id"]

    worker.run_pending_jobs(now=timezone.now())

    results = staff.get("backups").json()["results"]
    run_id = created.json()["id"]
    assert [(row["id"], row["status"], row["kind"]) for row in results] == [(run_id, "done", "full")]
    assert staff.get(created["Location"]).json()["checks"]


def test_verify_backup_queues_one_check(staff):
    run_id = staff.post("backups").json()["id"]
    worker.run_pending_jobs(now=timezone.now())

    check = staff.post(f"backups/{run_id}/verify")
    repeated = staff.post(f"backups/{run_id}/verify")

    assert (check.status_code, check.json()["kind"], check.json()["status"]) == (202, "verify", "queued")
    assert repeated.json()["id"] == check.json()["id"]
    worker.run_pending_jobs(now=timezone.now())
    assert Check.objects.get(pk=check.json()["id"]).status == "done"


def test_backups_overview_after_a_proven_backup_has_no_warnings(staff):
    staff.post("backups")
    worker.run_pending_jobs(now=timezone.now())

    overview = staff.get("backups/overview").json()

    assert (overview["warnings"], overview["prunes"], overview["readable_here"]) == ([], [], True)
    assert overview["newest_proven_at"] == overview["newest_good_at"] is not None


def test_backups_overview_lists_warnings(staff, settings):
    def warnings():
        return staff.get("backups/overview").json()["warnings"]

    assert warnings() == ["There is no backup yet."]
    run = execute_backup()
    assert any("proven" in text for text in warnings())
    BackupRun.objects.filter(pk=run.pk).update(taken_at=timezone.now() - 3 * settings.BACKUP_EVERY)
    assert any(text.startswith("The newest successful backup was taken at") for text in warnings())
    settings.BACKUP_STORE_URL = "s3://a:b@nowhere/?endpoint=http://127.0.0.1:9"
    assert "The backup store is unavailable." in warnings()


def test_backups_need_permissions_to_read_and_to_write(api):
    run = execute_backup()
    requests = [
        ("get", "backups"),
        ("post", "backups"),
        ("get", "backups/overview"),
        ("get", f"backups/{run.pk}"),
        ("post", f"backups/{run.pk}/drill"),
    ]
    assert [getattr(api, method)(path).status_code for method, path in requests] == [403] * 5
    Role.objects.create(name="watcher", permissions=["backups.read"])
    reader = sign_in(UserFactory(role="watcher"))

    statuses = [getattr(reader, method)(path).status_code for method, path in requests]

    assert statuses == [200, 403, 200, 200, 403]


def test_drill_backup_refuses_failed_and_pruned_backups(staff):
    failed = BackupRun.objects.create(status="failed", error="The store was unavailable.")
    pruned = BackupRun.objects.create(
        status="done", name="x", taken_at=timezone.now(), pruned_at=timezone.now()
    )

    for run in (failed, pruned):
        assert staff.post(f"backups/{run.pk}/drill").json()["code"] == "not_restorable"


@pytest.mark.parametrize("rows", [1, 3])
def test_list_backups_has_a_constant_number_of_queries(staff, rows, django_assert_num_queries):
    BackupRun.objects.bulk_create([BackupRun(status="failed") for _ in range(rows)])

    staff.get("backups")  # caches that the session is valid
    with django_assert_num_queries(3):  # the caller's row and roles, the page
        assert len(staff.get("backups").json()["results"]) == rows
