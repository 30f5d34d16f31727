"""Permissions and scopes: those of every app are registered when Django has started, before any view is
loaded.
"""

import json
import subprocess
import sys

from django.conf import settings

from core.permissions import all_permissions, all_scopes

PRINT_REGISTERED = """
import django, json
django.setup()
from core.permissions import all_permissions, all_scopes
print(json.dumps([list(all_permissions()), list(all_scopes())]))
"""


def test_all_permissions_and_scopes_are_registered_by_django_setup():
    result = subprocess.run(
        [sys.executable, "-c", PRINT_REGISTERED],
        cwd=settings.BASE_DIR,
        env={
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": "postgresql://none/none",
            "REDIS_URL": "redis://none",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    permissions, scopes = json.loads(result.stdout.splitlines()[-1])

    assert permissions == list(all_permissions())
    assert scopes == list(all_scopes())
    apps = {code.partition(".")[0] for code in (*permissions, *scopes)}
    assert apps >= {"users", "roles", "audit", "logs", "sites", "analytics", "vault", "backups", "account"}
