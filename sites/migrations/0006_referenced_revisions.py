"""The SQL function that says whether something refers to a revision."""

from pathlib import Path

from django.db import migrations

from core.migration_sql import run_sql_file

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("sites", "0005_stored_bytes")]
    operations = [run_sql_file(SQL / "referenced_revisions")]
