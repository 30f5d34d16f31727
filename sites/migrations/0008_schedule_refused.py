from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sites", "0007_read_one_page"),
    ]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="refused",
            field=models.CharField(
                blank=True, default="", help_text="Why it was not done when its time came.", max_length=40
            ),
        ),
    ]
