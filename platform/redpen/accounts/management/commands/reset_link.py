from django.core.management.base import BaseCommand, CommandError, CommandParser

from redpen.accounts.actions.passwords import make_reset_link_as_operator
from redpen.accounts.models import User


class Command(BaseCommand):
    help = "Print the path of a link with which a person chooses a new password: good once, for a day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    def handle(self, *args, email: str, **options) -> None:
        user = User.objects.filter(email__iexact=email.strip(), is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active account with the address {email}.")
        path = make_reset_link_as_operator(user=user)
        self.stderr.write("Put the address of your Redpen before it and give it to nobody else:")
        self.stdout.write(path)
