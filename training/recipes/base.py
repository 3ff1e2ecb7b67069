"""What a recipe is: what it consumes, the one artifact it makes, its typed options, and one `train` function.

The launch form, the API's schema and the docs are made from the options. Nothing here, and nothing at the top of a
recipe's file, imports torch: the web process reads all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from training.recipes.context import RunContext


class RecipeConfig(BaseModel):
    """The options of a recipe. Unknown ones are refused, all faults at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=False)

    also_takes: ClassVar[tuple[str, ...]] = ()  # what every recipe with these options may be given besides


def option(default: Any, sentence: str, *, unit: str = "", source: str = "", **bounds: Any) -> Any:
    """A field of a config: its default, one sentence, a unit, where the value comes from, and bounds (`ge`, `gt`,
    `le`, `lt`).
    """
    return Field(default, description=sentence, json_schema_extra={"unit": unit, "source": source}, **bounds)


def kinds_of(need: str) -> tuple[str, ...]:
    """The kinds of artifacts that meet a need, any one of them: "reward_model|span_reward_model" names two. What stands
    before a colon ("watch:reward_model") is what the artifact is used for, where that is not its kind.
    """
    return tuple(need.rpartition(":")[2].split("|"))


def role_of(need: str) -> str:
    """What an artifact is used for, where that is not its kind; else nothing."""
    return need.rpartition(":")[0]


def in_words(need: str) -> str:
    """A need as people read it: "reward model or span reward model"."""
    kinds = " or ".join(kind.replace("_", " ") for kind in kinds_of(need))
    return f"{kinds} to {role_of(need)} with" if role_of(need) else kinds


def pack_tokens() -> Any:
    """The option that every recipe has: how much is computed at one time."""
    return option(
        768,
        "tokens computed at one time (a longer record goes alone): few for a CPU, many for a GPU; changes speed and "
        "memory, not what is learned",
        unit="tokens",
        ge=64,
        le=1_000_000,
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method that a run can use."""

    name: str
    title: str
    paper: str
    summary: str
    consumes: tuple[str, ...]  # kinds of records
    needs: tuple[str, ...]  # kinds of artifacts that a run must be given; "a|b" where one of several is enough
    produces: str
    Config: type[RecipeConfig]
    presets: Mapping[str, Mapping[str, Any]]
    train: Callable[[RunContext, Any], None]
    takes: tuple[str, ...] = ()  # kinds of artifacts that a run may be given besides

    def __post_init__(self) -> None:
        """What its options bring with them may be given as well."""
        object.__setattr__(self, "takes", tuple(dict.fromkeys((*self.takes, *self.Config.also_takes))))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every name under which a run may be given an artifact (a kind, or a role), those that it needs first."""
        needs = (*self.needs, *self.takes)
        return tuple(name for need in needs for name in ((role_of(need),) if role_of(need) else kinds_of(need)))

    def kinds_for(self, name: str) -> tuple[str, ...]:
        """The kinds of artifacts that may be given under this name."""
        for need in (*self.needs, *self.takes):
            if role_of(need) == name:
                return kinds_of(need)
        return (name,)

    def unmet(self, given: Collection[str]) -> list[str]:
        """The needs that artifacts of these kinds leave open."""
        return [need for need in self.needs if not set(kinds_of(need)) & set(given)]

    def config(self, values: Mapping[str, Any], *, preset: str | None = None) -> RecipeConfig:
        """The preset's options with `values` over them; pydantic's ValidationError names all that is wrong."""
        return self.Config.model_validate({**(self.presets[preset] if preset else {}), **values})

    def schema(self) -> dict[str, Any]:
        """JSON schema of the options, in the order of the file, with unit, source and each preset's value on every
        field.
        """
        schema = self.Config.model_json_schema()
        for name, field in schema["properties"].items():
            default = field.get("default")
            field["presets"] = {preset: values.get(name, default) for preset, values in self.presets.items()}
        return schema

    def card(self) -> dict[str, Any]:
        """All that a form or the API says about the recipe."""
        return {
            "name": self.name,
            "title": self.title,
            "paper": self.paper,
            "summary": self.summary,
            "consumes": list(self.consumes),
            "needs": list(self.needs),
            "takes": list(self.takes),
            "produces": self.produces,
            "presets": {name: self.config({}, preset=name).model_dump() for name in self.presets},
            "schema": self.schema(),
        }
