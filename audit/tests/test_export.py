"""The trail outside of the database: exported, verified with the public key alone, dropped by the month."""

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from audit import retention
from audit.actors import SYSTEM
from audit.chain import checkpoints, hashing, sealing
from audit.chain.signing_keys import public_keys, public_texts
from audit.chain.verification import verify
from audit.models import Stub
from audit.offline_verify import Broken, verify_lines
from audit.partitions import entry_partitions, lowest_id
from audit.services import erase_personal, record
from audit.subjects import Subject
from config import embedded_servers
from core.ids import uuid7
from core.storage import object_store
from core.storage.partitions import month_start

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
NOW = datetime(2030, 1, 1, tzinfo=UTC)
MINE = uuid7()
THEIRS = uuid7()


def seal_and_sign():
    while sealing.seal_pending():
        pass
    checkpoints.make_checkpoint(now=NOW)
    checkpoints.store_checkpoints(now=NOW)


@pytest.fixture
def exported(trail, tmp_path):
    """A trail of two owners with three checkpoints, and what the command wrote of one of them."""
    for batch in range(3):
        for number in range(4):
            owner = MINE if number % 2 and batch < 2 else THEIRS
            record(
                "thing.done",
                actor=SYSTEM,
                subject=Subject("thing", uuid7(), f"Label {number}", owner_id=owner),
                number=number,
            )
        seal_and_sign()
    path = tmp_path / "trail.jsonl"
    call_command("audit_export", "--owner", str(MINE), "--to", str(path), verbosity=0)
    return path


def offline(path):
    """The verifier as an auditor runs it: no settings, no database, no Django."""
    clean = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    (kid, key) = next(iter(public_texts().items()))
    command = [
        sys.executable,
        "-c",
        "import sys; sys.modules['django'] = None; import runpy; runpy.run_module('audit.offline_verify', run_name='__main__')",
    ]
    done = subprocess.run(
        [*command, str(path), "--public-key", f"{kid}:{key}"],
        cwd=settings.BASE_DIR,
        env=clean,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout.strip() + done.stderr.strip()[-300:]


def test_an_export_verifies_offline_and_shows_nothing_of_others(exported):
    text = exported.read_text()

    assert offline(exported) == (0, "good: 4 entries, 2 checkpoints, 0 values erased")
    assert (str(MINE) in text, str(THEIRS) in text) == (True, False)
    with pytest.raises(CommandError, match="exists already"):
        call_command("audit_export", "--all", "--to", str(exported))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda lines: [
                line.replace("thing.done", "thing.undone", 1) if "thing.done" in line else line
                for line in lines
            ],
            "do not lead",
        ),
        (lambda lines: [line.replace("Label 1", "Label 9") for line in lines], "personal value"),
        (lambda lines: [line for number, line in enumerate(lines) if number != 3], "where"),
        (lambda lines: lines[:-1], "was cut"),
        (lambda lines: [lines[0], *lines[2:]], "where"),
        (lambda lines: [line.replace('\\"number\\": 4', '\\"number\\": 5') for line in lines], "signature"),
        (lambda lines: lines[1:], "header"),
        (lambda lines: [*lines[:4], "garbage", *lines[4:]], "not a line"),
    ],
    ids=["edited", "personal", "deleted", "cut", "no start", "forged checkpoint", "no header", "garbage"],
)
def test_a_changed_export_is_found_out(exported, change, says):
    lines = exported.read_text().splitlines()

    with pytest.raises(Broken, match=says):
        verify_lines(change(lines), public_keys())


def test_an_export_signed_by_somebody_else_is_refused(exported):
    stranger = hashing.public_key("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")

    with pytest.raises(Broken, match="signature"):
        verify_lines(exported.read_text().splitlines(), dict.fromkeys(public_keys(), stranger))


def test_erased_values_are_counted_and_do_not_break_the_export(exported, tmp_path):
    erase_personal(owner_id=MINE)
    path = tmp_path / "erased.jsonl"
    call_command("audit_export", "--owner", str(MINE), "--to", str(path), verbosity=0)

    assert offline(path) == (0, "good: 4 entries, 2 checkpoints, 4 values erased")
    assert "Label" not in path.read_text()


def test_a_month_is_dropped_after_its_export_and_the_rest_still_verifies(trail, superuser):
    now = timezone.now()
    moment = month_start(now, -12)
    entry_partitions.create(moment)
    name = entry_partitions.name_of(moment)
    base = lowest_id(moment).int
    with connection.cursor() as cursor:
        for number in range(10):  # as they were written a year ago
            cursor.execute(
                "WITH e AS (INSERT INTO audit_entry VALUES (%(id)s, 'old.thing', 'system', null, 'thing', null, null, null, null, '', '{}', '{}', %(at)s)) "
                "INSERT INTO audit_pending VALUES (%(id)s, %(at)s)",
                {"id": str(UUID(int=base + number)), "at": moment},
            )
    record("new.thing", actor=SYSTEM, subject=Subject("thing", label="somebody@example.com"))
    with pytest.raises(retention.NotYet, match="not sealed"):
        retention.drop_month(name, now=now)
    while sealing.seal_pending():
        pass
    with pytest.raises(retention.NotYet, match="checkpoint"):
        retention.drop_month(name, now=now)
    seal_and_sign()

    retention.drop_month(name, now=now)

    found = verify(now=now)
    assert (found.good, found.dropped, name in entry_partitions.names()) == (True, 10, False)
    assert json.loads(Stub.objects.get().document)["entries"] == 10
    (archive,) = object_store.object_store().keys("audit/exports/")
    body = gzip.decompress(object_store.object_store().read(archive))
    assert (b"new.thing" in body, b"somebody@example.com" in body) == (True, False)
    superuser.execute(
        "UPDATE audit_stub SET document = replace(document, '\"entries\": 10', '\"entries\": 11')"
    )
    assert verify(now=now).fault["kind"] == "stub"
    with pytest.raises(retention.NotYet, match="over"):
        retention.drop_month(entry_partitions.name_of(now), now=now)


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_an_object_is_created_once_and_never_overwritten(kind, request, tmp_path):
    url = f"file://{tmp_path}/objects" if kind == "folder" else request.getfixturevalue("s3")
    store = object_store.open_store(url)

    store.create("audit/a.json", b"first")
    with pytest.raises(object_store.ObjectExists):
        store.create("audit/a.json", b"second")
    store.create("audit/b/c.json", b"other")

    assert [store.read(key) for key in ("audit/a.json", "audit/none")] == [b"first", None]
    assert (store.keys("audit/"), store.keys("audit/b")) == (
        ["audit/a.json", "audit/b/c.json"],
        ["audit/b/c.json"],
    )


def test_a_store_that_is_away_says_so():
    store = object_store.open_store(
        f"s3://a:b@trail/x?endpoint=http://127.0.0.1:{embedded_servers.free_port()}"
    )

    for act in (lambda: store.create("a", b""), lambda: store.read("a"), lambda: store.keys("")):
        with pytest.raises(object_store.ObjectStoreUnavailable):
            act()


@pytest.mark.parametrize("url", ["", "/tmp/x", "http://x", "s3://", "file://"])
def test_an_address_of_no_store_is_refused(url):
    with pytest.raises(ValueError, match="OBJECT_STORE_URL"):
        object_store.open_store(url)


def test_verify_as_a_command_exits_with_its_verdict(trail, superuser, capsys):
    record("thing.done", actor=SYSTEM, subject=Subject("thing"))
    seal_and_sign()

    call_command("audit_verify", "--json")
    assert json.loads(capsys.readouterr().out)["good"] is True
    superuser.execute("UPDATE audit_entry SET event = 'x'")
    with pytest.raises(SystemExit) as stopped:
        call_command("audit_verify")
    assert (stopped.value.code, "FAULT altered" in capsys.readouterr().out) == (1, True)


def test_keys_are_shown_in_public_and_made_in_front(capsys, trail):
    call_command("audit_keys", "show")
    (kid, key) = capsys.readouterr().out.strip().split(":")
    assert public_texts() == {kid: key}

    call_command("audit_keys", "rotate", "--json")
    item = json.loads(capsys.readouterr().out)["item"]
    assert len(item.split(":")[1]) == 44
