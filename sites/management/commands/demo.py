"""Demo data for a development installation: an administrator, a site owner and a published bakery site."""

import json
import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.services.staff_users import ensure_admin
from accounts.services.users import register_user
from audit.actors import SYSTEM
from core import tenancy
from core.http.preconditions import IfMatch
from sites.models import Site
from sites.services import publishing, sites
from sites.subdomains import address_of

ADMIN = "admin@example.com"
OWNER = "owner@example.com"
SUBDOMAIN = "bakery"


class Command(BaseCommand):
    help = (
        "Create the demo accounts and the demo site, and write var/demo.json. "
        "An installation that has users already is not changed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEVELOPMENT:
            raise CommandError("Demo data is for development only.")
        path = settings.VAR_DIR / "demo.json"
        demo = json.loads(path.read_text()) if path.exists() else {}
        if not User.objects.get_queryset().exists():
            demo = create_demo_site()
        elif not demo:
            demo = {"admin": None, "owner": None}
        host = settings.ENV.host
        if host in {"127.0.0.1", "::1", "0.0.0.0"}:  # noqa: S104
            host = settings.APP_HOST
        demo |= {"base_url": f"http://{host}:{settings.ENV.port}", "site_url": f"{address_of(SUBDOMAIN)}/"}
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(json.dumps(demo, indent=2) + "\n")


def create_demo_site() -> dict[str, Any]:
    """Create the accounts and the site. Returns the accounts with their new random passwords."""
    passwords = {email: secrets.token_urlsafe(12) for email in (ADMIN, OWNER)}
    ensure_admin(email=ADMIN, password=passwords[ADMIN], name="Ada Admin")
    owner = register_user(email=OWNER, password=passwords[OWNER], name="Olive Owner")
    with tenancy.context(tenancy.user_context(owner.pk)):
        site: Site = sites.create_site(
            actor=SYSTEM, owner_id=owner.pk, name="Marlow & Rye", subdomain=SUBDOMAIN, template="bakery"
        )
        publishing.publish_site(site, actor=SYSTEM, if_match=IfMatch(None))
    return {
        "admin": {"email": ADMIN, "password": passwords[ADMIN]},
        "owner": {"email": OWNER, "password": passwords[OWNER]},
    }
