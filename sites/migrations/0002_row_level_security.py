"""Row-level security, triggers and functions of sites."""

from pathlib import Path

from django.db import migrations

from core.migration_sql import run_sql_file

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("sites", "0001_initial"), ("core", "0002_context_functions")]
    operations = [
        run_sql_file(SQL / "row_level_security"),
        run_sql_file(SQL / "immutable_rows"),
        run_sql_file(SQL / "blueprint_with_one_page"),
    ]
