"""Programs that know the truth and judge an answer by it: of the worlds of `training.worlds`, by their names.

A checker reads the answer and the question, and knows its world. What a writer may have planted is not asked. It has no
verdict on a question of another world.
"""

from __future__ import annotations

from collections.abc import Callable

from training.recipes.asking import Ask
from training.recipes.context import RecipeError

Checker = Callable[[Ask, str], float | None]  # an answer's text to what it is worth


def of_world(name: str) -> Callable[[str], Checker]:
    """How good an answer truly is in this world, from 0 to 1; the words after the colon are the world's options."""

    def make(options: str) -> Checker:
        from training.worlds.registry import world

        try:
            known = world(f"{name}:{options}" if options else name)
        except ValueError as error:
            raise RecipeError("run.checker", str(error), "Name a world as in words:24 or support:0.") from error

        def check(ask: Ask, text: str) -> float | None:
            prompt = known.prompt_from(list(ask.messages), list(ask.context))
            return None if prompt is None else known.true_quality(prompt, text)

        return check

    return make


CHECKERS: dict[str, Callable[[str], Checker]] = {
    name: of_world(name) for name in ("support", "words", "digits", "cycles")
}
