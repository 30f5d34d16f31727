"""End sessions and API keys, from the next request on. Safe to repeat."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import ApiKey, Session, User, normalise_email
from accounts.services import api_keys
from accounts.services import sessions as sessions_services
from audit.actors import SYSTEM
from core.permissions import ADMIN_ACCESS


def _users_with_address(email: str) -> QuerySet[User]:
    """Return the user with this address. Raises CommandError for an unknown address."""
    users = User.objects.get_queryset().filter(email=normalise_email(email))
    if not users:
        raise CommandError("There is no account with this address.")
    return users


def _users_signed_in(users: QuerySet[User], sessions: QuerySet[Session]) -> QuerySet[User]:
    """Return the users of these sessions, and staff, whose admin sessions have no row in `sessions`."""
    return users.filter(Q(sessions__in=sessions) | Q(roles__permissions__contains=[ADMIN_ACCESS.code]))


class Command(BaseCommand):
    help = "End all sessions of one account or of all accounts, and with --keys also their API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="?", help="Address of the account.")
        parser.add_argument("--all", action="store_true", help="All accounts.")
        parser.add_argument("--keys", action="store_true", help="Revoke API keys too.")
        parser.add_argument("--dry-run", action="store_true", help="Count what would end, and end nothing.")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, email: str | None, dry_run: bool, **options: Any) -> None:
        if bool(email) == options["all"]:
            raise CommandError("Give the address of one account, or --all.")
        now = timezone.now()
        users: QuerySet[User] = User.objects.get_queryset()
        if email:
            users = _users_with_address(email)
        sessions = Session.objects.live(now=now).filter(user__in=users)
        keys = ApiKey.objects.live(now=now).filter(owner__in=users)
        if not options["keys"]:
            keys = keys.none()
        counts = {"sessions": sessions.count(), "keys": keys.count()}
        if not dry_run:
            affected = users if email else _users_signed_in(users, sessions)
            for user_id in list(affected.order_by("pk").values_list("pk", flat=True).distinct()):
                sessions_services.close_all_sessions(user_id, actor=SYSTEM, now=now)
            for key_id in list(keys.values_list("pk", flat=True)):
                api_keys.revoke_api_key(key_id, actor=SYSTEM, now=now)
        if options["json"]:
            self.stdout.write(json.dumps({**counts, "dry_run": dry_run}))
        else:
            verb = "would end" if dry_run else "ended"
            self.stdout.write(f"{verb} {counts['sessions']} sessions and {counts['keys']} API keys")
