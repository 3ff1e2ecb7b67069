"""What the project wants of all that comes in: users' names hashed, personal data taken out. Files pass it too."""

from __future__ import annotations

from typing import Any

from annotation import redaction
from annotation.errors import BadValue
from annotation.models import IntakeSettings
from annotation.pseudonyms import check_user, pseudonym
from redpen.accounts.models import Project


class Door:
    """A project's way of taking things in, read once for a file."""

    def __init__(self, project: Project) -> None:
        settings = IntakeSettings.objects.filter(project=project).first()
        self.secret = settings.user_secret if settings and settings.hash_users else ""
        self.redact = redaction.redactor(settings.redact) if settings and settings.redact else None

    def user(self, name: str) -> str:
        """What is kept of a user's name."""
        return pseudonym(self.secret, name) if self.secret else name

    def known_user(self, name: Any) -> str:
        """The same for logs, in which "anonymous" and the like stand for no user."""
        try:
            return self.user(check_user(name)) if isinstance(name, str) and name else ""
        except BadValue as error:
            if error.code == "user.nobody":
                return ""
            raise

    def clean(self, value: Any) -> Any:
        """The text, or the JSON value, without personal data."""
        return redaction.apply(value, self.redact)[0] if self.redact else value
