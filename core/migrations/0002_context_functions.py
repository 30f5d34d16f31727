from django.db import migrations

from core import tenancy


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]
    operations = [migrations.RunSQL(tenancy.FUNCTIONS, tenancy.DROP_FUNCTIONS)]
