"""Who says something: a signed-in person, or a program or model that is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from annotation.models import Origin
from redpen.accounts import audit
from redpen.accounts.models import Project, User


@dataclass(frozen=True)
class Author:
    """One of the two must be there. `origin` says what kind of being spoke."""

    user: User | None = None
    agent: str = ""
    origin: str = Origin.HUMAN

    @classmethod
    def person(cls, user: User) -> Author:
        return cls(user=user)

    @classmethod
    def program(cls, agent: str) -> Author:
        """A simulated person or a checker: `sim:ines`."""
        return cls(agent=agent, origin=Origin.PROGRAM)

    @classmethod
    def model(cls, agent: str) -> Author:
        return cls(agent=agent, origin=Origin.MODEL)

    def fields(self) -> dict[str, Any]:
        """What a record keeps of its author."""
        return {"author": self.user, "agent": self.agent, "origin": self.origin}

    def wrote(self, row: Any) -> bool:
        """Whether `row`, which has author and agent, is this author's."""
        return (row.author_id, row.agent) == (self.user.pk if self.user else None, self.agent)

    def holds(self, assignment: Any) -> bool:
        return (assignment.user_id, assignment.agent) == (self.user.pk if self.user else None, self.agent)

    def audit(self, action: str, *, project: Project, subject: Any = None, **data: Any) -> None:
        audit.record(action, project=project, actor=self.user, agent=self.agent, subject=subject, **data)
