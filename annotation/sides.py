"""Left and right on the pair page, a and b in the record: the task's stored seed says which is which."""

from __future__ import annotations

from annotation.models import Task


def shown_first(task: Task) -> str:
    """Which answer of a pair stands on the left: by the task's stored seed."""
    return "b" if task.shuffle_seed % 2 else "a"


def by_name(task: Task, choice: str) -> str:
    """left and right as a and b."""
    left = shown_first(task)
    return {"left": left, "right": "a" if left == "b" else "b"}.get(choice, choice)


def by_side(task: Task, choice: str) -> str:
    """a and b as left and right."""
    return choice if choice not in ("a", "b") else "left" if choice == shown_first(task) else "right"
