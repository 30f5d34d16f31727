"""Sign people out, from their next request on. Safe to repeat."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, Session, User, normalise_email
from accounts.services import api_keys
from accounts.services import sessions as sessions_services
from audit.actors import SYSTEM
from core.permissions import ADMIN_ACCESS


class Command(BaseCommand):
    help = "End every session of one account, or of all, and with --keys their API keys too."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="?", help="Whose sessions.")
        parser.add_argument("--all", action="store_true", help="Everybody's sessions.")
        parser.add_argument("--keys", action="store_true", help="API keys, too.")
        parser.add_argument("--dry-run", action="store_true", help="Only count.")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, email: str | None, dry_run: bool, **options: Any) -> None:
        if bool(email) == options["all"]:
            raise CommandError("Name one account, or say --all.")
        now = timezone.now()
        users = User.objects.get_queryset()
        if email:
            users = users.filter(email=normalise_email(email))
            if not users:
                raise CommandError("There is no account with this address.")
        sessions = Session.objects.live(now=now).filter(user__in=users)
        keys = (
            ApiKey.objects.live(now=now).filter(owner__in=users) if options["keys"] else ApiKey.objects.none()
        )
        facts = {"sessions": sessions.count(), "keys": keys.count(), "dry_run": dry_run}
        if not dry_run:
            # Staff may be signed in at the admin alone, which has no row in `sessions`.
            wanted = (
                users
                if email
                else users.filter(
                    Q(sessions__in=sessions) | Q(roles__permissions__contains=[ADMIN_ACCESS.code])
                )
            )
            for user_id in list(wanted.order_by("pk").values_list("pk", flat=True).distinct()):
                sessions_services.close_all_sessions(user_id, actor=SYSTEM, now=now)
            for key_id in list(keys.values_list("pk", flat=True)):
                api_keys.revoke_api_key(key_id, actor=SYSTEM, now=now)
        if options["json"]:
            self.stdout.write(json.dumps(facts))
        else:
            verb = "would end" if dry_run else "ended"
            self.stdout.write(f"{verb} {facts['sessions']} sessions and {facts['keys']} API keys")
