"""`manage.py backup_keys`: make keys, and change those that open what is stored."""

import base64
import os
import secrets
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from backups.cli import BackupCommand, add_identity
from backups.engine.encryption import key_id, new_identity, read_keys
from backups.services import retention


class Command(BackupCommand):
    help = "new: a master key for BACKUP_KEYS. add-recipient: a key pair, of which only the public half goes to the server. rotate: what is stored opens with the keys of now only."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("act", choices=["new", "add-recipient", "rotate"])
        parser.add_argument(
            "file",
            nargs="?",
            type=Path,
            help="add-recipient: where the private key goes (mode 600). Take it away from the server.",
        )
        add_identity(parser)

    def handle(self, *args: Any, act: str, **options: Any) -> None:
        if act == "new":
            self._new(**options)
        elif act == "add-recipient":
            self._add(**options)
        else:
            with self.alone():
                changed = retention.rotate_keys(identities=tuple(options["identity"]))
            self.say(
                {"changed": changed},
                f"{changed} backups open with the keys of now only.",
                as_json=options["json"],
            )

    def _new(self, **options: Any) -> None:
        made = secrets.token_bytes(32)
        text = base64.b64encode(made).decode()
        told = f"{text}\nKey id {key_id(made)}. Put it first in BACKUP_KEYS, the old ones behind it, and keep a copy elsewhere: without it no backup opens."
        self.say({"key": text, "key_id": key_id(made)}, told, as_json=options["json"])

    def _add(self, file: Path | None, **options: Any) -> None:
        if file is None:
            raise CommandError("Say where the private key goes: backup_keys add-recipient FILE")
        private, public = new_identity()
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
                output.write(base64.b64encode(private).decode() + "\n")
        except FileExistsError:
            raise CommandError(f"{file} is there already, and stays as it is.") from None
        text = base64.b64encode(public).decode()
        assert read_keys([text]) == (public,)
        told = f"{text}\nKey id {key_id(public)}. Add it to BACKUP_RECIPIENTS. The private key is in {file}: take it to another place, in two copies."
        self.say({"recipient": text, "key_id": key_id(public), "file": file}, told, as_json=options["json"])
