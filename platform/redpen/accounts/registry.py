"""What the apps above add to our writes, told to us when they start: we import none of them.

Each step runs inside the transaction of the write; one that raises undoes the whole of it.
"""

from __future__ import annotations

from collections.abc import Callable

from redpen.accounts.models import Project, User

ProjectStep = Callable[[Project, User], None]
_project_steps: list[ProjectStep] = []


def on_project_created(step: ProjectStep) -> ProjectStep:
    """A decorator: `step(project, creator)` runs for every new project, as the default labels do."""
    if step not in _project_steps:
        _project_steps.append(step)
    return step


def project_created(project: Project, creator: User) -> None:
    for step in _project_steps:
        step(project, creator)
