"""The partitioned audit trail."""

from pathlib import Path

from django.db import migrations

from core.migration_sql import run_sql_file

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [run_sql_file(SQL / "audit_trail")]
