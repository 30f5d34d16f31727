"""The triggers that count the bytes of sites for their owners.

The same migration counts what is stored already: a write between the two would be counted twice or never.
"""

from pathlib import Path

from django.db import migrations

from core.migration_sql import run_sql_file

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("sites", "0004_size"), ("core", "0004_storage_usage")]
    operations = [run_sql_file(SQL / "stored_bytes")]
