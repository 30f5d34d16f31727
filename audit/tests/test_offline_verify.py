"""Tests of exports, which are verified with the public key alone."""

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from audit.actors import SYSTEM
from audit.chain import hashing
from audit.chain.signing_keys import encoded_public_keys, public_keys
from audit.offline_verify import ExportInvalid, verify_lines
from audit.services import erase_personal_values, record
from audit.subjects import Subject
from audit.tests.trail_helpers import seal_sign_and_store
from core.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
OWNER = uuid7()
OTHER_OWNER = uuid7()
RUN_WITHOUT_DJANGO = (
    "import sys; sys.modules['django'] = None; "
    "import runpy; runpy.run_module('audit.offline_verify', run_name='__main__')"
)


@pytest.fixture
def export(trail, tmp_path):
    """The export of `OWNER` from a trail of two owners with three checkpoints."""
    for batch in range(3):
        for number in range(4):
            owner = OWNER if number % 2 and batch < 2 else OTHER_OWNER
            record(
                "thing.done",
                actor=SYSTEM,
                subject=Subject("thing", uuid7(), f"Label {number}", owner_id=owner),
                number=number,
            )
        seal_sign_and_store()
    path = tmp_path / "trail.jsonl"
    call_command("audit_export", "--owner", str(OWNER), "--to", str(path), verbosity=0)
    return path


def run_offline_verify(path):
    """Run the verifier as an auditor does: no settings, no database, no Django. Return status and output."""
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    kid, key = next(iter(encoded_public_keys().items()))
    run = subprocess.run(
        [sys.executable, "-c", RUN_WITHOUT_DJANGO, str(path), "--public-key", f"{kid}:{key}"],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
    )
    return run.returncode, run.stdout.strip() + run.stderr.strip()[-300:]


def test_audit_export_writes_the_entries_of_one_owner_that_offline_verify_accepts(export):
    text = export.read_text()

    assert run_offline_verify(export) == (0, "good: 4 entries, 2 checkpoints, 0 values erased")
    assert (str(OWNER) in text, str(OTHER_OWNER) in text) == (True, False)
    with pytest.raises(CommandError, match="exists already"):
        call_command("audit_export", "--all", "--to", str(export))


def test_audit_export_reports_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(CommandError, match=r"nowhere/export cannot be written: No such file or directory\."):
        call_command("audit_export", "--all", "--to", str(tmp_path / "nowhere" / "export"))


def test_offline_verify_counts_erased_values(export, tmp_path):
    erase_personal_values(owner_id=OWNER)
    path = tmp_path / "erased.jsonl"
    call_command("audit_export", "--owner", str(OWNER), "--to", str(path), verbosity=0)

    assert run_offline_verify(path) == (0, "good: 4 entries, 2 checkpoints, 4 values erased")
    assert "Label" not in path.read_text()


def replace_text(old, new):
    return lambda lines: [line.replace(old, new) for line in lines]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_text("thing.done", "thing.undone"), "do not lead"),
        (replace_text("Label 1", "Label 9"), "personal value"),
        (lambda lines: [*lines[:3], *lines[4:]], "where"),
        (lambda lines: lines[:-1], "was cut"),
        (lambda lines: [lines[0], *lines[2:]], "where"),
        (replace_text('\\"number\\": 4', '\\"number\\": 5'), "signature"),
        (lambda lines: lines[1:], "header"),
        (lambda lines: [*lines[:4], "garbage", *lines[4:]], "not a line"),
    ],
    ids=["edited", "personal", "deleted", "cut", "no start", "forged checkpoint", "no header", "garbage"],
)
def test_verify_lines_refuses_a_changed_export(export, change, message):
    lines = export.read_text().splitlines()

    with pytest.raises(ExportInvalid, match=message):
        verify_lines(change(lines), public_keys())


def test_verify_lines_refuses_the_signature_of_another_key(export):
    another_key = hashing.decode_public_key("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")

    with pytest.raises(ExportInvalid, match="signature"):
        verify_lines(export.read_text().splitlines(), dict.fromkeys(public_keys(), another_key))
