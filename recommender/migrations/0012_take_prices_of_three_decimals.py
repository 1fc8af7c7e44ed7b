from django.db import migrations


class Migration(migrations.Migration):
    """Tables have such prices from the first migration on: PostgreSQL writes a table anew to change them, under a lock."""

    dependencies = [("recommender", "0011_give_message_ids_their_owner")]

    operations = []
