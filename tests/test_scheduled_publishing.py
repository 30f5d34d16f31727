"""Scheduled publishes over real processes: each is carried out once, also when a worker is killed."""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from tests.stack import ROOT, wait_until

pytestmark = pytest.mark.stack
PYTHON = str(ROOT / ".venv/bin/python")
PUBLISH_FOR_SIX_SECONDS = """
import time
from django.utils import timezone
from sites.services import publishing
for _ in range(60):
    publishing.publish_scheduled(now=timezone.now())
    time.sleep(0.1)
"""
PUBLISH_AND_DIE_BEFORE_COMMIT = """
import os, signal, time
from django.utils import timezone
from sites.services import publishing
publishing.change_stream.announce_host_change = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
time.sleep(1.5)
publishing.publish_scheduled(now=timezone.now())
"""
PUBLISH_AFTER_THE_LEASE = """
from datetime import timedelta
from core.jobs.queue import LEASE
from django.utils import timezone
from sites.services import publishing
later = timezone.now() + LEASE + timedelta(minutes=1)
print(publishing.publish_scheduled(now=later), publishing.publish_scheduled(now=later + LEASE))
"""


def shell_command(script):
    return [PYTHON, "manage.py", "shell", "-v", "0", "-c", script]


def list_releases(person, site_id):
    return person.call("GET", f"sites/{site_id}/releases").json()["results"]


def test_publish_scheduled_in_three_processes_publishes_once(stack, person):
    site_id, host = person.publish(template="portfolio")
    blueprint = person.call("GET", f"sites/{site_id}/blueprint").json()
    blueprint["settings"]["title"] = "Planned by clock"
    saved = person.call("PUT", f"sites/{site_id}/blueprint", blueprint, **{"If-Match": "*"})
    at = datetime.now(UTC) + timedelta(seconds=3)
    scheduled = person.call(
        "POST",
        f"sites/{site_id}/schedules",
        {"at": at.isoformat()},
        **{"If-Match": saved.headers["ETag"]},
    )
    assert scheduled.status_code == 201, scheduled.text
    command = shell_command(PUBLISH_FOR_SIX_SECONDS)
    workers = [subprocess.Popen(command, cwd=ROOT, env=stack.environ) for _ in range(3)]

    def is_shown_everywhere():
        return all(b"Planned by clock" in web.get("/", host).content for web in stack.webs)

    wait_until(is_shown_everywhere, seconds=30)
    for worker in workers:
        assert worker.wait(60) == 0

    releases = [(row["number"], row["live"]) for row in list_releases(person, site_id)]
    assert releases == [(2, True), (1, False)]
    entries = person.call("GET", f"audit?event=site.published&site={site_id}")
    assert entries.status_code == 200, entries.text
    assert len(entries.json()["results"]) == 2


def test_publish_scheduled_repeats_a_publish_whose_worker_was_killed(stack, person):
    """The worker is killed while it holds the row, so its transaction is rolled back."""
    site_id, _ = person.publish(template="portfolio")
    at = datetime.now(UTC) + timedelta(seconds=1)
    scheduled = person.call("POST", f"sites/{site_id}/schedules", {"at": at.isoformat()})
    assert scheduled.status_code == 201

    command = shell_command(PUBLISH_AND_DIE_BEFORE_COMMIT)
    killed = subprocess.run(command, cwd=ROOT, env=stack.environ, timeout=60)

    assert killed.returncode == -9
    assert len(list_releases(person, site_id)) == 1
    output = stack.manage("shell", "-v", "0", "-c", PUBLISH_AFTER_THE_LEASE)
    assert output.strip() == "1 0"
    assert len(list_releases(person, site_id)) == 2
