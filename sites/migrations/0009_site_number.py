from django.db import migrations, models

import sites.models


class Migration(migrations.Migration):
    """A small integer for each site, for tables with billions of rows."""

    dependencies = [("sites", "0008_schedule_refused")]
    operations = [
        migrations.RunSQL("CREATE SEQUENCE sites_number AS integer", "DROP SEQUENCE sites_number"),
        migrations.AddField(
            "site",
            "number",
            models.IntegerField(unique=True, editable=False, db_default=sites.models.NextNumber()),
        ),
    ]
