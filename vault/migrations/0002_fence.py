from django.db import migrations

TABLES = ["vault_holder", "vault_vault", "vault_item", "vault_formerversion"]
OWN = "((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()))"


def fence(table: str) -> migrations.RunSQL:
    """Row-level security: the rows of whoever is acting, and in context `system` all."""
    return migrations.RunSQL(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY; "
        f"CREATE POLICY own ON {table} USING {OWN} WITH CHECK {OWN};",
        f"DROP POLICY own ON {table}; ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;",
    )


class Migration(migrations.Migration):
    dependencies = [("vault", "0001_initial"), ("core", "0002_context_functions")]
    operations = [fence(table) for table in TABLES]
