"""Event tables, and row-level security of what owners save."""

from pathlib import Path

from django.db import migrations

from core.migration_sql import run_sql_file

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("analytics", "0001_initial"), ("core", "0002_context_functions")]
    operations = [run_sql_file(SQL / "events"), run_sql_file(SQL / "row_level_security")]
