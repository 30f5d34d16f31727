"""Backups in the admin."""

import pytest
from django.test import Client
from django.utils import timezone

from accounts.tests.factories import UserFactory
from audit.models import Entry
from backups.models import BackupRun, Check
from backups.services import worker
from backups.tests.helpers import execute_backup
from conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("backup_folder")]


@pytest.fixture
def admin(password_hash):
    user = UserFactory(email="backups-admin@example.com", role="admin", password=password_hash)
    client = Client()
    client.post("/admin/login/", {"username": user.email, "password": PASSWORD})
    return client


def test_backup_run_admin_has_a_chart_and_audited_actions(admin):
    page = admin.get("/admin/backups/backuprun/").content.decode()
    assert "There is no backup yet." in page
    assert admin.post("/admin/backups/backuprun/now/").status_code == 302
    assert admin.get("/admin/backups/backuprun/now/").status_code == 405
    worker.run_pending_jobs(now=timezone.now())
    run = BackupRun.objects.get()
    execute_backup()

    page = admin.get("/admin/backups/backuprun/").content.decode()
    assert ("proven by restoring" in page, "There is no backup yet." in page) == (True, False)
    admin.post("/admin/backups/backuprun/", {"action": "verify", "_selected_action": [str(run.pk)]})
    assert Check.objects.filter(run=run, kind="verify", status="queued").count() == 1
    entries = Entry.objects.filter(event__in=["backup.queued", "backup.check_queued"])
    assert "staff" in {entry.actor_kind for entry in entries}


@pytest.mark.parametrize("model", ["check", "siterestore"])
def test_check_admin_and_site_restore_admin_have_a_list(admin, model):
    assert admin.get(f"/admin/backups/{model}/").status_code == 200
