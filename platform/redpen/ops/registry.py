"""What the apps above do once a backup has been restored, told to us when they start: we import none of them."""

from __future__ import annotations

from collections.abc import Callable

Step = Callable[[], str]
_restored: list[Step] = []


def on_restored(step: Step) -> Step:
    """A decorator: `step()` runs after a restore and its migrations, before /readyz turns green; it says what it did.
    It must bear being repeated.
    """
    if step not in _restored:
        _restored.append(step)
    return step


def restored() -> list[str]:
    return [said for step in _restored if (said := step())]
