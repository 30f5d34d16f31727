"""Arguments of the backup commands, and the command for keys."""

import json
from argparse import ArgumentTypeError
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from backups.cli import parse_database_url, parse_datetime
from backups.management.commands.backup_restore import Command


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("2026-11-20T12:00Z", datetime(2026, 11, 20, 12, tzinfo=UTC)),
        ("2026-11-20 12:00", datetime(2026, 11, 20, 12, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=UTC)),
        ("20261120", datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_parse_datetime_takes_a_date_as_the_end_of_that_day(text, parsed):
    assert parse_datetime(text) == parsed


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", ""])
def test_parse_datetime_refuses(text):
    with pytest.raises(ArgumentTypeError, match="is not a time"):
        parse_datetime(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("restored", "must be a URL"),
        ("mysql://host/name", "must be a URL"),
        ("postgresql://host", "does not name a database"),
        ("postgresql://host/%zz", "is wrong"),
    ],
)
def test_parse_database_url_refuses_in_one_line(text, message):
    with pytest.raises(ArgumentTypeError, match=message) as error:
        parse_database_url(text)
    assert "\n" not in str(error.value)


def test_create_parser_reports_a_wrong_argument_in_one_line(capsys):
    command = Command()
    command._called_from_command_line = True  # as `manage.py` sets it

    with pytest.raises(SystemExit):
        command.create_parser("manage.py", "backup_restore").parse_args(["--target", "nonsense"])

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("manage.py backup_restore: error: argument --target: the target must be a URL")


def test_backup_keys_command_creates_keys_and_never_overwrites_a_file(tmp_path, capsys):
    private_key = tmp_path / "private.key"

    call_command("backup_keys", "add-recipient", str(private_key), "--json")
    recipient = json.loads(capsys.readouterr().out)["recipient"]
    text = private_key.read_text()
    with pytest.raises(CommandError, match="already exists and was not changed"):
        call_command("backup_keys", "add-recipient", str(private_key), "--json")
    call_command("backup_keys", "new", "--json")
    key = json.loads(capsys.readouterr().out)["key"]

    assert (private_key.stat().st_mode & 0o777, len(recipient), private_key.read_text()) == (0o600, 44, text)
    assert len(key) == 44
