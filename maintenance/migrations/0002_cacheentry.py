from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("maintenance", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="CacheEntry",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("value", models.JSONField(null=True)),
                (
                    "expires_at",
                    models.DateTimeField(db_index=True, help_text="null: kept until it is deleted", null=True),
                ),
            ],
            options={"db_table": "cache_entries"},
        ),
    ]
