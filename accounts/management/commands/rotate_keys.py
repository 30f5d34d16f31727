"""Prepare the next signing key of access tokens, and encrypt anew what an older SECRET_KEY encrypted.

Safe to repeat.
"""

import json
import os
import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.credentials.tokens import SigningKey, rotate_key_ring
from audit.actors import SYSTEM
from audit.services import record
from audit.subjects import Subject
from core import encryption


class Command(BaseCommand):
    help = (
        "Encrypt anew what an older SECRET_KEY encrypted, and print the next JWT_KEYS: one more key, which signs after "
        "--after minutes. Give it to every process before then: no valid token is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--after", type=int, default=10, help="Minutes until the new key signs (default 10)."
        )
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, after: int, **options: Any) -> None:
        if after < 0:
            raise CommandError("--after is minutes from now.")
        try:
            renewed = encryption.reencrypt_all()
        except encryption.Undecryptable:
            raise CommandError(
                "Something was encrypted under a SECRET_KEY that is not in SECRET_KEY_FALLBACKS."
            ) from None
        now = timezone.now()
        before = [SigningKey.read(item) for item in settings.JWT_KEYS]
        starts = (now + timedelta(minutes=after)).replace(microsecond=0)
        fresh = SigningKey(f"k{starts:%Y%m%d%H%M%S}", secrets.token_urlsafe(48), starts)
        after_it = rotate_key_ring(before, fresh, now=now)
        value = ",".join(str(key) for key in after_it)
        changed = after_it != before
        if changed:
            record("keys.rotated", actor=SYSTEM, subject=Subject("keys"), kids=[key.kid for key in after_it])
        kept = changed and self.keep(value)
        if options["json"]:
            facts = {
                "jwt_keys": value,
                "changed": changed,
                "kids": [key.kid for key in after_it],
                "renewed": renewed,
            }
            self.stdout.write(json.dumps(facts))
            return
        deploy = f"Give this to every process and restart it before {starts:%H:%M:%S} UTC:\nJWT_KEYS={value}"
        if not changed:
            deploy = "JWT_KEYS stays as it is: the newest key has not signed for a day."
        elif kept:
            deploy = "The new key is in VAR_DIR/secrets.json. Restart to use it."
        self.stdout.write(f"Encrypted anew: {renewed} values.\n{deploy}")

    @staticmethod
    def keep(value: str) -> bool:
        """Write the ring where a development installation keeps its secrets; False when the environment names
        it.
        """
        path = settings.VAR_DIR / "secrets.json"
        if os.environ.get("JWT_KEYS") or not path.exists():
            return False
        facts = {**json.loads(path.read_text()), "jwt_keys": value.split(",")}
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(facts))
        draft.replace(path)
        return True
