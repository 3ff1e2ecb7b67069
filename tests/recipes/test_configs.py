"""Options as forms and the API read them: typed, bounded, refused all at once."""

import re

import pytest
from pydantic import BaseModel, ValidationError

from training.recipes.registry import RECIPES, NoSuchRecipe, get


@pytest.mark.parametrize("name", RECIPES)
def test_every_option_has_a_sentence_a_type_and_its_value_in_both_presets(name):
    card = get(name).card()
    assert {"paper", "laptop"} <= set(card["presets"])
    assert card["schema"]["additionalProperties"] is False
    for option, field in card["schema"]["properties"].items():
        assert field["description"], option
        assert "type" in field or "enum" in field or "anyOf" in field, option
        assert field["presets"] == {preset: card["presets"][preset][option] for preset in card["presets"]}


@pytest.mark.parametrize("name", RECIPES)
def test_every_option_is_read_by_the_recipe(name):
    """An option that nothing reads is a promise that nobody keeps."""
    import inspect

    recipe = get(name)
    modules = {
        inspect.getmodule(one) for one in (recipe.train, *recipe.Config.__mro__) if one not in (object, BaseModel)
    }
    source = "".join(inspect.getsource(module) for module in modules)  # where the options are declared counts as well
    read = [option for option in recipe.Config.model_fields if re.search(rf"\b(config|self)\.{option}\b", source)]
    assert read == list(recipe.Config.model_fields)


def test_what_is_wrong_with_a_config_is_said_all_at_once():
    with pytest.raises(ValidationError) as refusal:
        get("raft").config({"rounds": 0, "temprature": 1.0, "forbid": "("}, preset="laptop")
    assert {error["loc"][0] for error in refusal.value.errors()} == {"rounds", "temprature", "forbid"}


def test_a_preset_is_the_ground_on_which_values_stand():
    config = get("raft").config({"rounds": 5}, preset="paper")
    assert (config.rounds, config.prompts) == (5, 2048)


def test_an_unknown_recipe_is_refused_with_those_that_there_are():
    with pytest.raises(NoSuchRecipe, match=", ".join(sorted(RECIPES))):
        get("ppo2")
