"""Data exports are built in steps: they continue after a kill, take turns, and are limited in size."""

# ruff: noqa: F811 - fixtures are imported by name

import os
import signal
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from accounts.models import DataExport, User
from accounts.services import data_exports, export_archives, export_parts
from accounts.services.export_parts import PartWriter
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, subject_of_mail
from audit.models import Entry
from conftest import sign_in
from core.jobs import queue
from core.storage import object_store
from tests.personal_data import (
    download_export,
    export_store,  # noqa: F401 - a fixture
    make_export,
)

pytestmark = pytest.mark.django_db
GIB = 1024**3


@pytest.fixture
def one_member_a_step(monkeypatch):
    """Each step ends after one member, and parts are small."""
    monkeypatch.setattr(export_archives, "STEP_SECONDS", 0)
    monkeypatch.setattr(export_parts, "PART_BYTES", 200)


def run_steps(count):
    """Run `count` steps of the only export, each at the time when it is due."""
    for _ in range(count):
        now = DataExport.objects.get().due_at
        queue.run(queue.claim(DataExport, now=now), data_exports._run_step, now=now)


def set_store(settings, url):
    settings.OBJECT_STORE_URL = url
    object_store.object_store.cache_clear()


def test_export_in_many_steps_is_the_same_archive_as_in_one_step(api, one_member_a_step, monkeypatch):
    api.post("sites", {"name": "S", "subdomain": "stepwise", "template": "bakery"})
    make_export(api)
    in_steps = download_export(api)
    export = DataExport.objects.get()
    monkeypatch.setattr(export_archives, "STEP_SECONDS", 20)
    make_export(api)
    in_one_step = download_export(api)

    assert sorted(in_steps) == sorted(in_one_step)
    assert in_steps["sites/stepwise/draft.json"] == in_one_step["sites/stepwise/draft.json"]
    assert f"Number of steps: {len(in_steps) - 1}." in in_steps["README.txt"]
    assert "Number of steps: 1." in in_one_step["README.txt"]
    assert export.attempts > DataExport.max_attempts
    assert (export.members, len(export.steps)) == ([], len(in_steps) - 1)


def make_exports_and_die(store_url, seconds_later, function_name, calls):
    """Build exports, one member a step, and be killed after a number of calls of a function."""
    django_settings.OBJECT_STORE_URL = store_url
    export_archives.STEP_SECONDS = 0
    export_parts.PART_BYTES = 50  # each member has several parts
    module = data_exports if hasattr(data_exports, function_name) else export_parts
    original = getattr(module, function_name)
    remaining = iter(range(calls - 1, -1, -1))

    def call_and_die(*arguments, **options):
        result = original(*arguments, **options)
        if next(remaining) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, function_name, call_and_die)
    return data_exports.make_exports(now=timezone.now() + timedelta(seconds=seconds_later))


@pytest.mark.commits
def test_export_continues_after_its_worker_was_killed_in_and_between_steps(
    api, child_process_runner, settings, export_store
):
    api.post("auth/me/export")
    kills = [
        ("_encrypt_part", 2),  # in the first step, which has stored a part
        ("_save_progress", 2),  # after a step: its progress is stored, and the job still seems to run
        ("_encrypt_part", 9),
        ("_save_progress", 1),
        ("_encrypt_part", 3),
    ]
    steps = []
    for number, (function_name, calls) in enumerate(kills):
        arguments = (settings.OBJECT_STORE_URL, number * 120, function_name, calls)
        _, results = child_process_runner.run(make_exports_and_die, *arguments)
        assert results == []
        steps.append(DataExport.objects.get().steps)

    counts = [len(finished) for finished in steps]
    assert counts[:2] == [0, 2]
    assert counts == sorted(counts)
    assert data_exports.make_exports(now=timezone.now() + timedelta(hours=1)) == 1
    export = DataExport.objects.get()
    assert export.steps[: counts[-1]] == steps[-1]
    names = list(download_export(api))
    assert len(names) == len(set(names)) > 15
    assert len(export_store.keys("exports/")) == export.parts


def test_exports_of_two_owners_take_turns(api, one_member_a_step, monkeypatch):
    other = sign_in(UserFactory())
    for owner in (api, other):
        owner.post("auth/me/export")
    turns = []

    def write_step(export, stream):
        turns.append(export.user_id)
        return export_archives.write_step(export, stream)

    monkeypatch.setattr(data_exports, "write_step", write_step)

    assert data_exports.make_exports(now=timezone.now()) == 2
    first, second = api.user.pk, other.user.pk
    assert turns == [first, second] * (len(turns) // 2)
    assert len(turns) > 30


def test_export_beyond_the_limit_fails_and_tells_its_owner(api, one_member_a_step, export_store, settings):
    api.post("auth/me/export")
    run_steps(3)
    assert export_store.keys("exports/")
    settings.EXPORT_MAX_BYTES = DataExport.objects.get().size + 100

    assert data_exports.make_exports(now=timezone.now() + timedelta(hours=2)) == 0

    shown = api.get("auth/me/export").json()
    assert (shown["state"], shown["link"], shown["size"]) == ("dead", None, 0)
    assert shown["failure"]["code"] == "export_too_large"
    assert "larger than the largest archive" in shown["failure"]["detail"]
    assert export_store.keys("exports/") == []
    mail = deliver_and_read_mails(api.user.email)[-1]
    assert subject_of_mail(mail) == "Your data could not be archived"
    assert Entry.objects.filter(event="export.failed").count() == 1
    settings.EXPORT_MAX_BYTES = GIB
    make_export(api)
    assert "account.json" in download_export(api)


def test_export_that_failed_in_all_attempts_shows_a_failure(api, export_store):
    api.post("auth/me/export")
    assert api.get("auth/me/export").json()["failure"] is None
    DataExport.objects.update(status="dead", error="ObjectStoreUnavailable")

    assert api.get("auth/me/export").json()["failure"]["code"] == "export_failed"


def test_export_continues_with_its_finished_steps_after_the_store_failed(
    api, one_member_a_step, export_store, settings, tmp_path
):
    api.post("auth/me/export")
    run_steps(4)
    finished = DataExport.objects.get()
    usual_url = settings.OBJECT_STORE_URL
    (tmp_path / "a-file").write_text("in the way")
    set_store(settings, f"file://{tmp_path}/a-file")
    run_steps(3)
    failed = DataExport.objects.get()
    set_store(settings, usual_url)

    assert (failed.status, failed.error) == ("waiting", "ObjectStoreUnavailable")
    assert (failed.steps, failed.attempts_without_progress) == (finished.steps, 3)
    assert data_exports.make_exports(now=timezone.now() + timedelta(hours=2)) == 1
    assert "account.json" in download_export(api)
    assert len(export_store.keys("exports/")) == DataExport.objects.get().parts


def test_erasure_between_steps_leaves_no_parts(api, one_member_a_step, export_store):
    api.post("auth/me/export")
    run_steps(4)
    assert len(export_store.keys("exports/")) >= 4

    call_command("erase_user", api.user.email)

    assert export_store.keys("exports/") == []
    assert data_exports.make_exports(now=timezone.now() + timedelta(hours=2)) == 0


def test_deletion_of_the_row_during_a_step_leaves_no_parts(api, one_member_a_step, export_store, monkeypatch):
    api.post("auth/me/export")
    run_steps(3)
    original_encrypt = export_parts._encrypt_part

    def delete_and_encrypt(export, number, part):
        DataExport.objects.all().delete()
        return original_encrypt(export, number, part)

    monkeypatch.setattr(export_parts, "_encrypt_part", delete_and_encrypt)
    run_steps(1)

    assert export_store.keys("exports/") == []


def test_step_that_fails_deletes_its_parts(api, one_member_a_step, export_store, monkeypatch):
    monkeypatch.setattr(export_parts, "PART_BYTES", 50)
    api.post("auth/me/export")
    run_steps(2)
    before = export_store.keys("exports/")
    original_encrypt = export_parts._encrypt_part

    def fail_at_the_second_part(export, number, part):
        if number > len(before):
            raise MemoryError
        return original_encrypt(export, number, part)

    monkeypatch.setattr(export_parts, "_encrypt_part", fail_at_the_second_part)
    run_steps(1)

    assert (export_store.keys("exports/"), DataExport.objects.get().error) == (before, "MemoryError")


def test_step_whose_lease_was_lost_deletes_only_its_own_parts(
    api, one_member_a_step, export_store, monkeypatch
):
    api.post("auth/me/export")
    run_steps(3)
    before = (export_store.keys("exports/"), DataExport.objects.get().steps)
    original_encrypt = export_parts._encrypt_part

    def lose_lease_and_encrypt(export, number, part):
        DataExport.objects.update(attempts=5)
        return original_encrypt(export, number, part)

    monkeypatch.setattr(export_parts, "_encrypt_part", lose_lease_and_encrypt)
    run_steps(1)

    assert (export_store.keys("exports/"), DataExport.objects.get().steps) == before
    assert DataExport.objects.get().status == "running"


def test_delete_expired_exports_deletes_parts_that_remained_without_a_row(api, export_store):
    make_export(api)
    kept = export_store.keys("exports/")
    export_store.create(f"exports/{uuid4()}/1/0", b"a part of a killed worker")

    assert data_exports.delete_expired_exports(now=timezone.now()) == 0

    assert export_store.keys("exports/") == kept


def test_export_larger_than_4_gib_is_a_valid_zip_file(
    api, one_member_a_step, export_store, settings, tmp_path
):
    """The bytes between the first and the second step are a hole in a sparse file."""
    settings.EXPORT_MAX_BYTES = 6 * GIB
    api.post("auth/me/export")
    run_steps(1)
    first_parts = DataExport.objects.get().parts
    DataExport.objects.update(size=5 * GIB)
    assert data_exports.make_exports(now=timezone.now() + timedelta(hours=2)) == 1

    path = tmp_path / "archive.zip"
    with path.open("wb") as file:
        for number, part in enumerate(export_parts.read_parts(DataExport.objects.get())):
            if number == first_parts:
                file.seek(5 * GIB)
            file.write(part)

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("README.txt").header_offset > 5 * GIB
        assert b"@" in archive.read("account.json")


def test_part_writer_stores_each_full_part_at_once(api, export_store, monkeypatch):
    monkeypatch.setattr(export_parts, "PART_BYTES", 1000)
    export = DataExport.objects.create(user=api.user, key="00" * 32, due_at=timezone.now())
    writer = PartWriter(export)
    writer.write(b"x" * 3500)

    stored = len(export_store.keys("exports/"))
    writer.close()

    assert (stored, len(export_store.keys("exports/")), writer.tell()) == (3, 4, 3500)


@pytest.mark.commits
def test_step_reads_all_its_members_from_one_snapshot(api):
    def create_user():
        try:
            UserFactory()
        finally:
            connections.close_all()

    counts = []
    with export_archives._snapshot():
        counts.append(User.objects.count())
        with ThreadPoolExecutor(1) as pool:
            pool.submit(create_user).result()
        counts.append(User.objects.count())

    assert counts == [1, 1]
    assert User.objects.count() == 2
