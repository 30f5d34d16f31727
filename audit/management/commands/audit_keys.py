"""The keys that sign checkpoints: show what auditors need, or make the next one."""

import base64
import json
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from audit.actors import SYSTEM
from audit.chain.signing_keys import public_texts
from audit.services import record
from audit.subjects import Subject


class Command(BaseCommand):
    help = "`show` prints the public keys, `rotate` a new seed to put in front of AUDIT_KEYS. Old keys stay: they verify."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=["show", "rotate"])
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, act: str, **options: Any) -> None:
        if act == "show":
            found = public_texts()
            self.stdout.write(
                json.dumps(found)
                if options["json"]
                else "\n".join(f"{kid}:{key}" for kid, key in found.items())
            )
            return
        kid = f"{timezone.now():%Y%m%d%H%M%S}"
        item = f"{kid}:{base64.b64encode(os.urandom(32)).decode()}"
        record("audit.key_made", actor=SYSTEM, subject=Subject("audit"), kid=kid)
        self.stdout.write(
            json.dumps({"item": item})
            if options["json"]
            else f"Put this in front of AUDIT_KEYS, with a comma, and restart:\n{item}"
        )
