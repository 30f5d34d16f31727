"""Prepare the next JWT signing key, and re-encrypt values of an older SECRET_KEY. Safe to repeat."""

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
        "Re-encrypt values that an older SECRET_KEY encrypted, and print the next JWT_KEYS with one more "
        "key, which signs after --after minutes. Set it for every process before then, so that no valid "
        "token is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--after", type=int, default=10, help="Minutes until the new key signs (default 10)."
        )
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, after: int, **options: Any) -> None:
        if after < 0:
            raise CommandError("--after must not be negative.")
        reencrypted = self._reencrypt_values()
        now = timezone.now()
        ring = [SigningKey.parse(item) for item in settings.JWT_KEYS]
        starts = (now + timedelta(minutes=after)).replace(microsecond=0)
        new_key = SigningKey(f"k{starts:%Y%m%d%H%M%S}", secrets.token_urlsafe(48), starts)
        rotated_ring = rotate_key_ring(ring, new_key, now=now)
        jwt_keys = ",".join(str(key) for key in rotated_ring)
        changed = rotated_ring != ring
        kids = [key.kid for key in rotated_ring]
        if changed:
            record("keys.rotated", actor=SYSTEM, subject=Subject("keys"), kids=kids)
        stored = changed and self._store_in_development(jwt_keys)
        if options["json"]:
            result = {"jwt_keys": jwt_keys, "changed": changed, "kids": kids, "renewed": reencrypted}
            self.stdout.write(json.dumps(result))
            return
        instructions = (
            f"Set this for every process and restart it before {starts:%H:%M:%S} UTC:\nJWT_KEYS={jwt_keys}"
        )
        if not changed:
            instructions = "JWT_KEYS stays as it is: its newest key is less than a day old."
        elif stored:
            instructions = "The new key is in VAR_DIR/secrets.json. Restart to use it."
        self.stdout.write(f"Re-encrypted {reencrypted} values.\n{instructions}")

    @staticmethod
    def _reencrypt_values() -> int:
        """Re-encrypt values of an older SECRET_KEY. Returns how many. Raises CommandError."""
        try:
            return encryption.reencrypt_all()
        except encryption.Undecryptable:
            raise CommandError(
                "Some values were encrypted under a SECRET_KEY that is not in SECRET_KEY_FALLBACKS."
            ) from None

    @staticmethod
    def _store_in_development(jwt_keys: str) -> bool:
        """Write JWT_KEYS to the file where a development installation keeps its secrets.

        Returns False when there is no such file or the environment sets JWT_KEYS.
        """
        path = settings.VAR_DIR / "secrets.json"
        if os.environ.get("JWT_KEYS") or not path.exists():
            return False
        contents = {**json.loads(path.read_text()), "jwt_keys": jwt_keys.split(",")}
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(contents))
        draft.replace(path)
        return True
