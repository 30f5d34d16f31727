"""Create an administrator, or give an existing user the admin role. Safe to repeat."""

import getpass
import json
import os
import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email

from accounts.errors import ZeroKnowledgeStaff
from accounts.services.staff_users import ensure_admin


class Command(BaseCommand):
    help = "Create an administrator. The password is read from ADMIN_PASSWORD, standard input or a prompt."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, email: str, name: str, **options: Any) -> None:
        password = os.environ.get("ADMIN_PASSWORD") or self._read_password()
        try:
            validate_email(email)
            validate_password(password)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        try:
            user, created = ensure_admin(email=email, password=password, name=name)
        except ZeroKnowledgeStaff as refusal:
            raise CommandError(refusal.message) from None
        if options["json"]:
            self.stdout.write(json.dumps({"id": str(user.pk), "email": user.email, "created": created}))
        else:
            self.stdout.write(
                f"{user.email} is an administrator."
                + ("" if created else " The account existed before; its password is unchanged.")
            )

    @staticmethod
    def _read_password() -> str:
        """Read the password from a prompt on a terminal, else the first line of standard input."""
        if not sys.stdin.isatty():
            return sys.stdin.readline().rstrip("\n")
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise CommandError("The two passwords differ.")
        return password
