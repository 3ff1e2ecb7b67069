"""All weights or an adapter: the same option in every recipe that makes a policy, and the first model is kept where it
is asked again.
"""

import pytest
import torch

from training import engine
from training.recipes import registry
from training.recipes.context import Events, RecipeError, RunContext
from training.recipes.valuing import WithCritic
from training.recipes.weights import Weights

POLICIES = [recipe for recipe in registry.RECIPES.values() if recipe.produces == "policy"]


def config_of(recipe, **options):
    if issubclass(recipe.Config, WithCritic):
        options["critic"] = "head"  # an adapter of the critic's own has no place on weights that all learn
    if recipe.name == "dpo":
        options["beta"] = 0.1  # it is no KL's weight there, and never nothing
    known = recipe.Config.model_fields
    return recipe.config({name: value for name, value in options.items() if name in known})


def context(folder, base, **models):
    return RunContext(directory=folder, base_model=base, events=Events(folder / "events.jsonl"), seed=0, models=models)


@pytest.mark.parametrize("recipe", POLICIES, ids=lambda recipe: recipe.name)
def test_every_recipe_that_makes_a_policy_can_train_all_weights(tmp_path, base, recipe):
    config = config_of(recipe, trained="all", beta=0.0)
    assert isinstance(config, Weights)
    policy = config.policy(context(tmp_path, base))
    assert policy.full
    assert all(weight.requires_grad for weight in policy.model.parameters())


@pytest.mark.parametrize("recipe", POLICIES, ids=lambda recipe: recipe.name)
def test_a_kl_to_the_first_model_keeps_a_copy_of_it(tmp_path, base, recipe):
    if "beta" not in recipe.Config.model_fields:
        pytest.skip("it knows no KL")
    policy = config_of(recipe, trained="all", beta=0.1).policy(context(tmp_path, base))
    assert policy.recalls
    first = {name: weight.detach().clone() for name, weight in policy.model.named_parameters()}
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(1.0)
    with policy.as_reference() as reference:
        assert all(torch.equal(weight, first[name]) for name, weight in reference.named_parameters())


def test_a_first_model_that_is_asked_once_is_not_kept(tmp_path, base):
    config = config_of(registry.get("dpo"), trained="all", precompute_reference=True)
    assert not config.policy(context(tmp_path, base)).recalls


def test_all_weights_cannot_go_on_from_an_adapter(tmp_path, base):
    config = config_of(registry.get("grpo"), rank=2)
    config.policy(context(tmp_path, base)).save(tmp_path / "adapter")
    everything = config_of(registry.get("grpo"), trained="all", beta=0.0)
    with pytest.raises(RecipeError, match="is an adapter"):
        everything.policy(context(tmp_path, base, policy=tmp_path / "adapter"))


def test_an_adapter_needs_no_copy(tmp_path, base):
    policy = config_of(registry.get("grpo"), beta=0.1).policy(context(tmp_path, base))
    assert policy.recalls
    with policy.as_reference() as reference:
        assert isinstance(reference, torch.nn.Module)
    assert isinstance(policy, engine.policy.Policy)
