from django.core.management.base import BaseCommand, CommandError

from redpen.services.claims import Taken
from redpen.services.postgres import PostgresFailed
from redpen.services.redis import RedisFailed
from redpen.services.up import NotReady, up


class Command(BaseCommand):
    help = "Start everything on this machine, say where it is, and watch over it until Ctrl-C."
    requires_system_checks = ()

    def handle(self, *args, **options) -> None:
        try:
            up(say=self._say)
        except (Taken, PostgresFailed, RedisFailed, NotReady) as error:
            raise CommandError(str(error)) from None

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
