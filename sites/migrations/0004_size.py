"""The size columns of drafts, releases and posts, which the database computes. Revisions have one already."""

from django.db import migrations

from sites.database_functions import size_field


class Migration(migrations.Migration):
    dependencies = [("sites", "0003_access_role_since")]

    operations = [
        migrations.AddField("draft", "size", size_field("blueprint")),
        migrations.AddField("release", "size", size_field("blueprint")),
        migrations.AddField("post", "size", size_field("title", "excerpt", "blocks")),
    ]
