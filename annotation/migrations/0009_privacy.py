from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("annotation", "0008_honest_users")]
    operations = []
