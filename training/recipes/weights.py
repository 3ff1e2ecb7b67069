"""What of a policy learns: an adapter on its base, or all of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from training import engine
from training.recipes.base import RecipeConfig, option
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.policy import Policy


class Weights(RecipeConfig):
    """The option of all recipes that make a policy; they have `rank` and, for a KL to the first model, `beta`."""

    trained: Literal["adapter", "all"] = option(
        "adapter",
        "what learns: an adapter, or all weights. The adapter of a model of some ten thousand weights learns little",
        source="the papers: all",
    )

    @property
    def recalls(self) -> bool:
        """Whether the first model is asked again after the first step. Where all weights learn a copy of it is then
        kept, as large as the model itself.
        """
        return bool(getattr(self, "beta", 0))

    def policy(self, run: RunContext, *, adapters: Sequence[str] = (), dropout: float = 0.0) -> Policy:
        """The run's base, or the policy that it goes on from, with further `adapters` on it. Raises RecipeError where
        all weights are to learn of one that has only an adapter.
        """
        parent = run.models.get("policy")
        given: dict[str, Any] = {"parent": parent, "seed": run.seed}
        if self.trained == "all":
            if parent is not None and (parent / "adapter_config.json").exists():
                raise RecipeError(
                    "run.parent_adapter",
                    "All weights are to be trained, but the policy that this run goes on from is an adapter.",
                    "Set trained to adapter, or start from a base model.",
                )
            kept = "copy" if self.recalls else "precomputed"
            return engine.policy.Policy.load(run.base_model, full=True, reference=kept, **given)
        lora = engine.policy.Lora(rank=self.rank, dropout=dropout)  # type: ignore[attr-defined]
        return engine.policy.Policy.load(run.base_model, lora=lora, adapters=adapters, **given)
