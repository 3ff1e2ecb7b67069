import inspect
import subprocess
import sys

import pytest

from training.engine.objectives import OBJECTIVES
from training.engine.objectives.policy_gradient import Terms, _token_terms

SHARED = dict(inspect.signature(_token_terms).parameters)


def parameters_of(objective):
    """The function's parameters, with `**terms` written out."""
    found = dict(inspect.signature(objective.function).parameters)
    if found.pop("terms", None):
        found |= {name: SHARED[name] for name in Terms.__annotations__}
    return found


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_table_says_what_the_function_takes(name):
    objective = OBJECTIVES[name]
    found = parameters_of(objective)
    assert set(found) == set(objective.inputs) | set(objective.options)
    for option, said in objective.options.items():
        default = 0.28 if (name, option) == ("dapo", "clip_high") else found[option].default
        assert said.default == default, option
        assert found[option].kind is inspect.Parameter.KEYWORD_ONLY
        assert said.does.endswith(".")
    optional = {name for name, meaning in objective.inputs.items() if "optional" in meaning}
    assert all(found[name].default is None for name in optional)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_says_its_count_and_its_equation(name):
    objective = OBJECTIVES[name]
    assert objective.count
    assert objective.source
    assert "ount" in objective.function.__doc__


def test_the_table_is_read_without_torch():
    program = (
        "import sys; from training.engine import objectives; "
        "assert objectives.table.OBJECTIVES['dpo'].options['beta'].default == 0.1; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
