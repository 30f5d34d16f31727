"""API keys act, too."""

from django.db import migrations

KINDS = "'user', 'key', 'staff', 'system', 'anonymous'"
BEFORE = "'user', 'staff', 'system', 'anonymous'"


def check(kinds: str) -> str:
    return (
        "ALTER TABLE audit_entry DROP CONSTRAINT IF EXISTS audit_entry_actor_kind_check, "
        f"ADD CONSTRAINT audit_entry_actor_kind_check CHECK (actor_kind IN ({kinds}))"
    )


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_trail")]

    operations = [migrations.RunSQL(check(KINDS), check(BEFORE))]
