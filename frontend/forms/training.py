"""The launch form: made from a recipe's typed config, so that a new option needs no new page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.http import QueryDict

from redpen.accounts.errors import Invalid
from redpen.accounts.models import Project
from training.actions.runs import Launch
from training.models import ModelVersion
from training.queries import models, recipes
from training.queries.recipes import Option
from training.recipes.base import Recipe, in_words, kinds_of, role_of

ORIGINS = (("human", "people"), ("program", "simulated people and checkers"), ("model", "models"))


@dataclass
class Row:
    """One option with its value in the form, the other preset's value, and what is wrong with it."""

    option: Option
    value: Any
    other: str = ""
    error: str = ""

    @property
    def id(self) -> str:
        return f"option-{self.option.name}"

    @property
    def checked(self) -> bool:
        return self.value in (True, "on", "true", "True")

    @property
    def shown(self) -> str:
        return shown(self.value)

    @property
    def described_by(self) -> str:
        return f"{self.id}-about" + (f" {self.id}-error" if self.error else "")


@dataclass
class InputRow:
    """A model that the recipe needs or may take, of one kind or of any one of several."""

    kinds: tuple[str, ...]
    required: bool
    models: list[ModelVersion]
    value: str = ""
    error: str = ""
    role: str = ""  # what it is used for, where that is not its kind

    @property
    def kind(self) -> str:
        """What the field is called."""
        return self.role or "-or-".join(self.kinds)

    @property
    def title(self) -> str:
        return in_words(f"{self.role}:{'|'.join(self.kinds)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which the chosen model may be handed over."""
        return (self.role,) if self.role else self.kinds

    @property
    def several(self) -> bool:
        return len(self.kinds) > 1

    @property
    def chosen_kind(self) -> str:
        """The name under which the chosen model is handed over; it is the action that refuses what does not fit."""
        if self.role:
            return self.role
        return next((model.kind for model in self.models if str(model.pk) == self.value), self.kinds[0])


@dataclass
class LaunchForm:
    recipe: Recipe
    preset: str
    rows: list[Row]
    inputs: list[InputRow]
    base_models: list[Any]
    base_model: str
    name: str = ""
    seed: str = "0"
    origins: tuple[str, ...] = ()
    test: bool = False
    errors: list[str] = field(default_factory=list)
    base_error: str = ""
    seed_error: str = ""
    name_error: str = ""
    data_error: str = ""

    @property
    def other_preset(self) -> str:
        return next((name for name in self.recipe.presets if name != self.preset), "")

    @property
    def origin_choices(self) -> list[tuple[str, str, bool]]:
        return [(value, words, not self.origins or value in self.origins) for value, words in ORIGINS]

    def take(self, error: Invalid) -> None:
        """Put each problem beside the field that it points at; what has no field stands above the form."""
        rows = {f"/config/{row.option.name}": row for row in self.rows}
        inputs = {f"/inputs/{name}": row for row in self.inputs for name in row.names}
        places = {"/base_model": "base_error", "/seed": "seed_error", "/name": "name_error", "/data": "data_error"}
        for problem in error.problems or [{"pointer": "", "message": error.message}]:
            pointer, message = problem["pointer"], problem["message"]
            if pointer in rows:
                rows[pointer].error = message
            elif pointer in inputs:
                inputs[pointer].error = message
            elif pointer in places:
                setattr(self, places[pointer], message)
            else:
                self.errors.append(message)


def shown(value: Any) -> str:
    """A value as a field holds it: `0.0003`, not `3e-04`; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".") if 1e-6 <= abs(value) < 1e9 else f"{value:g}"
    return str(value)


def blank(
    project: Project, recipe: Recipe, *, preset: str, base_model: str, asked: Mapping[str, str] | None = None
) -> LaunchForm:
    """The form as it opens, on a preset. What a link has `asked` for (`base_model`, `name`, `option-...`, `input-...`,
    as the fields are called) stands in its fields; nothing is started by a link.
    """
    asked = asked or {}
    given = {
        option.name: asked[f"option-{option.name}"]
        for option in recipes.options_of(recipe)
        if f"option-{option.name}" in asked
    }
    form = build(
        project,
        recipe,
        preset=preset,
        base_model=asked.get("base_model", base_model),
        given=given,
        name=asked.get("name", ""),
    )
    for one in form.inputs:
        wanted = asked.get(f"input-{one.kind}", "")
        if wanted in {str(model.pk) for model in one.models}:
            one.value = wanted
    return form


def build(
    project: Project, recipe: Recipe, *, preset: str, base_model: str, given: Mapping[str, Any], **more: Any
) -> LaunchForm:
    other = next((name for name in recipe.presets if name != preset), "")
    rows = [
        Row(
            option=option,
            value=given.get(option.name, option.presets.get(preset)),
            other=shown(option.presets.get(other)) or "empty" if other else "",
        )
        for option in recipes.options_of(recipe)
    ]
    inputs = [
        InputRow(
            kinds=kinds_of(wanted),
            required=wanted in recipe.needs,
            models=models.of_kind(project, *kinds_of(wanted)),
            role=role_of(wanted),
        )
        for wanted in (*recipe.needs, *recipe.takes)
    ]
    for one in inputs:
        if one.required and one.models:
            one.value = str(one.models[0].pk)
    bases = models.base_models()
    return LaunchForm(
        recipe=recipe, preset=preset, rows=rows, inputs=inputs, base_models=bases, base_model=base_model, **more
    )


def read(project: Project, recipe: Recipe, post: QueryDict) -> tuple[Launch, LaunchForm]:
    """What was posted, as it goes to the action, and the form that shows it again."""
    preset = post.get("preset", "")
    if preset not in recipe.presets:
        preset = next(iter(recipe.presets))
    config: dict[str, Any] = {}
    for option in recipes.options_of(recipe):
        value = post.get(f"option-{option.name}", "")
        if option.kind == "boolean":
            config[option.name] = bool(value)
        elif value.strip() == "" and option.optional:
            config[option.name] = None
        else:
            config[option.name] = value if option.kind in ("text", "choice") else value.strip().replace(",", ".")
    origins = tuple(value for value, _ in ORIGINS if value in post.getlist("origins"))
    chosen = () if len(origins) in (0, len(ORIGINS)) else origins
    seed = post.get("seed", "0").strip()
    form = build(
        project,
        recipe,
        preset=preset,
        base_model=post.get("base_model", ""),
        given=config,
        name=post.get("name", ""),
        seed=seed,
        origins=origins,
        test=bool(post.get("test")),
    )
    for one in form.inputs:
        one.value = post.get(f"input-{one.kind}", "")
    launch = Launch(
        recipe=recipe.name,
        config=config,
        preset=preset,
        base_model=form.base_model,
        inputs={one.chosen_kind: one.value for one in form.inputs if one.value},
        origins=chosen,
        test=form.test,
        name=form.name,
        seed=int(seed) if seed.isascii() and seed.isdigit() else -1,
    )
    return launch, form


def client_key(post: QueryDict) -> str | None:
    try:
        return str(UUID(post.get("key", "")))
    except ValueError:
        return None
