"""The worker: one at a time, and throttled when it runs by schedule."""

import threading
import time
from types import SimpleNamespace

import pytest
from django.utils import timezone

from audit.actors import SYSTEM
from backups.engine import plan, source
from backups.engine.source import Snapshot
from backups.models import BackupRun
from backups.services import runs, worker
from backups.tests.helpers import execute_backup

pytestmark = [pytest.mark.django_db, pytest.mark.commits, pytest.mark.usefixtures("backup_folder")]


def test_run_pending_jobs_returns_at_once_while_another_process_holds_the_lock():
    locked = threading.Event()
    release = threading.Event()

    def hold_lock():
        with runs.worker_lock():
            locked.set()
            release.wait(30)

    thread = threading.Thread(target=hold_lock)
    thread.start()
    locked.wait(10)
    run = runs.queue_run(actor=SYSTEM)
    assert worker.run_pending_jobs(now=timezone.now()) == 0
    release.set()
    thread.join(10)

    assert worker.run_pending_jobs(now=timezone.now()) >= 1
    run.refresh_from_db()
    assert run.status == "done"
    assert BackupRun.objects.count() == 1


class RecordedReads:
    """Records how long the engine sleeps, and how many reader connections it opens."""

    def __init__(self, monkeypatch):
        self.sleeps = []
        self.readers = 0
        open_reader = Snapshot.open_reader

        def count_reader(snapshot):
            self.readers += 1
            return open_reader(snapshot)

        monkeypatch.setattr(Snapshot, "open_reader", count_reader)
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=self.sleeps.append)
        monkeypatch.setattr(plan, "time", clock)


@pytest.fixture
def reads(monkeypatch, settings):
    settings.BACKUP_PACE = 0.25
    monkeypatch.setattr(worker, "queue_due_checks", lambda now: None)
    return RecordedReads(monkeypatch)


def run_full_backup_by_schedule():
    """Returns how many seconds it took."""
    runs.queue_run(actor=SYSTEM, full=True)
    started = time.monotonic()
    worker.run_pending_jobs(now=timezone.now())
    return time.monotonic() - started


def test_execute_run_by_hand_is_not_throttled(reads):
    execute_backup()

    assert (reads.sleeps, reads.readers) == ([], 2)


def test_run_pending_jobs_throttles_a_run_to_one_reader_that_sleeps(reads):
    seconds = run_full_backup_by_schedule()

    assert 0 < sum(reads.sleeps) <= 3 * seconds
    assert reads.readers == 1


def test_run_pending_jobs_does_not_sleep_for_the_time_spent_waiting(reads, monkeypatch):
    monkeypatch.setattr(source, "ensure_no_rows_are_hidden", lambda *arguments: time.sleep(1))

    seconds = run_full_backup_by_schedule()

    assert 0 < sum(reads.sleeps) <= 3 * (seconds - 1)


def test_run_pending_jobs_reads_at_full_speed_when_the_throttled_time_is_over(reads, monkeypatch):
    monkeypatch.setattr(plan, "THROTTLE_SECONDS", 0)

    run_full_backup_by_schedule()

    assert (reads.sleeps, reads.readers) == ([], 2)
