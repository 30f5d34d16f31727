"""`manage.py backup_keys`: generate keys, and re-encrypt the data keys of stored backups."""

import base64
import os
import secrets
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from backups.cli import BackupCommand, add_identity_argument
from backups.engine.encryption import KEY_BYTES, generate_identity, key_id, parse_keys
from backups.services import retention


class Command(BackupCommand):
    help = (
        "new: generate a master key for BACKUP_KEYS. add-recipient: generate a key pair; only the public key"
        " goes to the server. rotate: let stored backups be opened by the current keys only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("act", choices=["new", "add-recipient", "rotate"])
        parser.add_argument(
            "file",
            nargs="?",
            type=Path,
            help="add-recipient: the file for the private key (mode 600). Move it off the server.",
        )
        add_identity_argument(parser)

    def handle(self, *args: Any, act: str, file: Path | None, **options: Any) -> None:
        if act == "new":
            self._generate_master_key(as_json=options["json"])
        elif act == "add-recipient":
            self._generate_recipient(file, as_json=options["json"])
        else:
            self._rotate_keys(identities=tuple(options["identity"]), as_json=options["json"])

    def _generate_master_key(self, *, as_json: bool) -> None:
        key = secrets.token_bytes(KEY_BYTES)
        key_text = base64.b64encode(key).decode()
        text = (
            f"{key_text}\nKey id {key_id(key)}. Put it first in BACKUP_KEYS, before the old keys, and keep a"
            " copy elsewhere: no backup can be opened without it."
        )
        self.write_result({"key": key_text, "key_id": key_id(key)}, text, as_json=as_json)

    def _generate_recipient(self, file: Path | None, *, as_json: bool) -> None:
        if file is None:
            raise CommandError("Name the file for the private key: backup_keys add-recipient FILE")
        private, public = generate_identity()
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
                output.write(base64.b64encode(private).decode() + "\n")
        except FileExistsError:
            raise CommandError(f"{file} already exists and was not changed.") from None
        public_text = base64.b64encode(public).decode()
        assert parse_keys([public_text]) == (public,)
        text = (
            f"{public_text}\nKey id {key_id(public)}. Add it to BACKUP_RECIPIENTS. The private key is in"
            f" {file}: move it off the server, and keep two copies."
        )
        result = {"recipient": public_text, "key_id": key_id(public), "file": file}
        self.write_result(result, text, as_json=as_json)

    def _rotate_keys(self, *, identities: tuple[bytes, ...], as_json: bool) -> None:
        with self.hold_worker_lock():
            changed = retention.rotate_keys(identities=identities)
        text = f"{changed} backups can now be opened by the current keys only."
        self.write_result({"changed": changed}, text, as_json=as_json)
