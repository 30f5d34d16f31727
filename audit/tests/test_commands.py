import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from audit.chain.signing_keys import encoded_public_keys
from audit.tests.trail_helpers import record_entries, seal_sign_and_store

pytestmark = [pytest.mark.django_db, pytest.mark.commits]


def test_audit_verify_exits_with_1_and_prints_the_fault(trail, superuser, capsys):
    record_entries()
    seal_sign_and_store()

    call_command("audit_verify", "--json")
    assert json.loads(capsys.readouterr().out)["good"] is True
    superuser.execute("UPDATE audit_entry SET event = 'x'")
    with pytest.raises(SystemExit) as stopped:
        call_command("audit_verify")

    assert stopped.value.code == 1
    assert "FAULT altered" in capsys.readouterr().out


def test_audit_verify_of_no_entry_proves_nothing_and_exits_with_3(trail, capsys):
    for options in ([], ["--since", "2041-01-01"]):
        with pytest.raises(SystemExit) as stopped:
            call_command("audit_verify", *options)
        assert stopped.value.code == 3
        printed = capsys.readouterr().out
        assert "Nothing was verified" in printed
        assert "good" not in printed
        with pytest.raises(SystemExit) as stopped:
            call_command("audit_verify", "--json", *options)
        assert (stopped.value.code, json.loads(capsys.readouterr().out)["good"]) == (3, False)
        record_entries()
        seal_sign_and_store()


@pytest.mark.parametrize("until", ["2026-10-01", "2026-10-02"])
def test_audit_verify_refuses_a_reversed_range(until):
    with pytest.raises(CommandError, match="--since must be before --until") as refusal:
        call_command("audit_verify", "--since", "2026-10-02", "--until", until)

    assert refusal.value.returncode == 2  # 1 means a fault


def test_audit_keys_shows_public_keys_and_generates_a_private_one(trail, capsys):
    call_command("audit_keys", "show")
    kid, key = capsys.readouterr().out.strip().split(":")
    call_command("audit_keys", "rotate", "--json")
    item = json.loads(capsys.readouterr().out)["item"]

    assert encoded_public_keys() == {kid: key}
    assert len(item.split(":")[1]) == 44
