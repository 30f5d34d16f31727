"""Show the public keys that auditors need, or generate the next key that signs checkpoints."""

import base64
import json
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from audit.actors import SYSTEM
from audit.chain.signing_keys import encoded_public_keys
from audit.services import record
from audit.subjects import Subject


class Command(BaseCommand):
    help = (
        "`show` prints the public keys. `rotate` prints a new key to put in front of AUDIT_KEYS. "
        "Keep the old keys there: they verify older checkpoints."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=["show", "rotate"])
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, act: str, **options: Any) -> None:
        if act == "show":
            self._show(as_json=options["json"])
        else:
            self._rotate(as_json=options["json"])

    def _show(self, *, as_json: bool) -> None:
        keys = encoded_public_keys()
        lines = "\n".join(f"{kid}:{key}" for kid, key in keys.items())
        self.stdout.write(json.dumps(keys) if as_json else lines)

    def _rotate(self, *, as_json: bool) -> None:
        kid = f"{timezone.now():%Y%m%d%H%M%S}"
        item = f"{kid}:{base64.b64encode(os.urandom(32)).decode()}"
        record("audit.key_made", actor=SYSTEM, subject=Subject("audit"), kid=kid)
        instruction = f"Put this in front of AUDIT_KEYS, followed by a comma, and restart:\n{item}"
        self.stdout.write(json.dumps({"item": item}) if as_json else instruction)
