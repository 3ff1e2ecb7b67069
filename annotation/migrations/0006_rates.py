from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("annotation", "0005_what_may_change")]
    operations = []
