from pathlib import Path

import django.utils.timezone
from django.db import migrations, models

from core.migration_sql import run_sql_file

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    """Reserve former subdomains, and say since when a slug is a former one.

    Slugs that are former ones already count from the migration on.
    """

    dependencies = [("sites", "0006_referenced_revisions")]

    operations = [
        migrations.AddField(
            "formerslug", "released_at", models.DateTimeField(default=django.utils.timezone.now)
        ),
        migrations.CreateModel(
            "SubdomainReservation",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "digest",
                    models.CharField(
                        help_text="SHA-256 of the name, hexadecimal.", max_length=64, unique=True
                    ),
                ),
                ("site_id", models.UUIDField()),
                ("owner_id", models.UUIDField(db_index=True)),
                ("released_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
        ),
        run_sql_file(SQL / "subdomain_reservations"),
    ]
