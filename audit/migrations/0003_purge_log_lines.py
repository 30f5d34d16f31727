from django.db import migrations


class Migration(migrations.Migration):
    """Delete the stored lines that can hold the token of a path. Later lines hold the route in its place."""

    dependencies = [("audit", "0002_audit_trail")]

    operations = [
        migrations.RunSQL(
            "DELETE FROM audit_logline WHERE logger LIKE 'django.%'", reverse_sql=migrations.RunSQL.noop
        )
    ]
