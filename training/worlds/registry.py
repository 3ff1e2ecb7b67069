"""Worlds by name: "words", "words:24", "words:kinds,all", "digits:share", "cycles:ladder", "support:3".

After the colon stand options, parted by commas: a number is the words' length (words), or the seed (support);
`seed=3` the seed of any. Everything that is given by a name is given in the same small surface:

    name, spec, prompts, prompt_from, true_quality, preference, marks, corpus, clean_answer, people, rows
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from .cycles import CIRCLE, LADDER, Cycles
from .digits import Digits
from .people import Annotator, Mark, cast
from .records import rows
from .support import World
from .toy import marks_of
from .truth import WorldPrompt
from .words import ALL, Words

Options = dict[str, str]


class Support:
    """The support world in the surface that all worlds share; what else it has is had from it too."""

    name = "support"

    def __init__(self, seed: int = 0, spec: str = "support") -> None:
        self.world, self.spec, self.seed = World(seed), spec, seed

    def __getattr__(self, name: str) -> Any:
        if name == "world":  # not there yet: a copy in the making
            raise AttributeError(name)
        return getattr(self.world, name)

    def corpus(self, n: int, seed: int = 0, split: str | None = "train") -> list[tuple[WorldPrompt, str]]:
        """`n` prompts with a careless answer each."""
        return [(prompt, answer.text) for prompt, answer in self.world.corpus(n, seed=seed, split=split)]

    def preference(self, prompt: WorldPrompt, a: str, b: str) -> float:
        """P(a, b) in [-1, 1]: the better answer wins with everybody."""
        gap = self.world.true_quality(prompt, a) - self.world.true_quality(prompt, b)
        return float(gap > 0) - float(gap < 0)

    def marks(self, prompt: WorldPrompt, text: str) -> list[Mark]:
        """What a perfect reader marks."""
        return marks_of(self.world, prompt, text)

    def people(self, **parameters: Any) -> dict[str, Annotator]:
        """Simulated people; `parameters` hold for all of them (see `people.Annotator`)."""
        return cast(self.world, **parameters)

    def rows(
        self,
        prompts: Sequence[WorldPrompt],
        texts: Sequence[str] | Sequence[Sequence[str]],
        people: Any = None,
        seed: int = 0,
        kinds: Sequence[str] = ("response", "preference"),
    ) -> Iterator[dict[str, Any]]:
        """What people say of these answers, as a snapshot's rows (`records.rows`)."""
        return rows(self.world, prompts, texts, people=people, seed=seed, kinds=kinds)

    def clean_answer(self, prompt: WorldPrompt, rng: random.Random) -> Any:
        """An answer without a defect."""
        return self.world.clean_answer(prompt, rng)


def _words(spec: str, options: Options) -> Words:
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name.isdigit():
            given["length"] = int(name)
        elif name in ("all", "coverage"):
            given["truth"] = name
        elif name == "kinds":
            given |= {"defects": ALL, "words": 12}
        elif name == "hard":
            given |= {"defects": ALL, "words": 12, "topics": 8}
        elif name == "tastes":
            given["tastes"] = _number("words", name, value or "0.5")
        elif name == "seed":
            given["seed"] = _seed("words", value)
        else:
            raise _unknown("words", name, "a number of words, all, coverage, kinds, hard, tastes, seed")
    return Words(spec=spec, **given)


def _digits(spec: str, options: Options) -> Digits:
    if strange := options.keys() - {"share", "seed"}:
        raise _unknown("digits", min(strange), "share, seed")
    return Digits("share" if "share" in options else "exact", seed=_seed("digits", options.get("seed", "0")), spec=spec)


def _cycles(spec: str, options: Options) -> Cycles:
    if strange := options.keys() - {"ladder", "seed"}:
        raise _unknown("cycles", min(strange), "ladder, seed")
    seed = _seed("cycles", options.get("seed", "0"))
    return Cycles(LADDER if "ladder" in options else CIRCLE, seed=seed, spec=spec)


def _support(spec: str, options: Options) -> Support:
    if strange := [name for name in options if name != "seed" and not name.isdigit()]:
        raise _unknown("support", strange[0], "a seed")
    seeds = [_seed("support", value if name == "seed" else name) for name, value in options.items()]
    return Support(*seeds[:1] or (0,), spec=spec)


def _number(world: str, name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"The world {world} takes a number for “{name}”, not “{value}”.") from None


def _seed(world: str, value: str) -> int:
    if not value.isdigit():
        raise ValueError(f"The world {world} takes a whole number for “seed”, not “{value}”.")
    return int(value)


def _unknown(world: str, name: str, known: str) -> ValueError:
    return ValueError(f"The world {world} has no option “{name}”; it has: {known}.")


WORLDS: dict[str, Callable[[str, Options], Any]] = {
    "words": _words,
    "digits": _digits,
    "cycles": _cycles,
    "support": _support,
}


@cache
def world(spec: str) -> Any:
    """The world of this name with its options; raises ValueError where there is none."""
    kind, _, rest = spec.partition(":")
    if kind not in WORLDS:
        raise ValueError(f"There is no world “{kind}”; there are {', '.join(WORLDS)}.")
    options = {}
    for piece in filter(None, (one.strip() for one in rest.split(","))):
        name, _, value = piece.partition("=")
        options[name.strip()] = value.strip()
    return WORLDS[kind](spec, options)
