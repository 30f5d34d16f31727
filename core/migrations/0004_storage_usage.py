"""The stored bytes of each user, and the SQL function with which triggers change them."""

from pathlib import Path

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from core.migration_sql import run_sql_file

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0003_slot_names"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="StorageUsage",
            fields=[
                (
                    "owner",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="storage_usage",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("used", models.BigIntegerField(default=0, help_text="The sum of `parts`.")),
                ("parts", models.JSONField(default=dict, help_text="Bytes by kind.")),
            ],
        ),
        run_sql_file(SQL / "storage_usage"),
    ]
