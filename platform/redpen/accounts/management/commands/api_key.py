from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from redpen.accounts.actions.keys import create_key
from redpen.accounts.errors import Invalid
from redpen.accounts.models import Membership, Project, User


class Command(BaseCommand):
    help = "Make an API key of a project and print it: it cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", help="the project's short name, as in /p/demo/")
        parser.add_argument("name", help="what the key is for")
        parser.add_argument("--scope", action="append", default=[], help="responses.write, reactions.write or read")
        parser.add_argument("--public", action="store_true", help="for browsers: may only write reactions")
        parser.add_argument("--origin", action="append", default=[], help="of the pages that may use a public key")
        parser.add_argument("--test", action="store_true", help="what it writes is test data")
        parser.add_argument("--by", help="the address of the admin in whose name; the first one where nothing is said")

    def handle(self, *args: Any, project: str, name: str, **options: Any) -> None:
        found = Project.objects.filter(slug=project).first()
        if found is None:
            raise CommandError(f"There is no project '{project}'. There are: {', '.join(slugs()) or 'none'}.")
        powers = {"scopes": options["scope"], "origins": options["origin"]}
        try:
            _, token = create_key(
                project=found,
                actor=admin_of(found, options["by"]),
                name=name,
                public=options["public"],
                test=options["test"],
                **powers,
            )
        except Invalid as error:
            raise CommandError(str(error)) from error
        self.stdout.write(token)


def slugs() -> list[str]:
    return list(Project.objects.order_by("slug").values_list("slug", flat=True)[:20])


def admin_of(project: Project, email: str | None) -> User:
    admins = Membership.objects.filter(project=project, role="admin", user__is_active=True).order_by("id")
    if email:
        admins = admins.filter(user__email__iexact=email)
    first = admins.select_related("user").first()
    if first is None:
        raise CommandError(f"{project.slug} has no active admin{f' with the address {email}' if email else ''}.")
    return first.user
