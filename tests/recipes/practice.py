"""Cheap practice for the recipes that learn from their own answers: few prompts, short answers, programs that judge."""

from tests.recipes.conftest import carry_out
from training.recipes import rewarding

QUICK = {
    "steps": 5,
    "prompts": 6,
    "samples": 8,
    "max_new_tokens": 6,
    "passage_tokens": 0,
    "lr": 5e-3,
    "schedule": "constant",
    "rank": 8,
    "held_out": 4,
    "new_answers": 2,
    "every": 0,
}


def judge_by(monkeypatch, check, name="taste"):
    """A program that judges answers, under a name for the option `checker`: check(ask, text) -> number or None."""
    monkeypatch.setitem(rewarding.CHECKERS, name, lambda argument: check)
    return name


def starts_with_hi(ask, text):
    """What a policy learns in a few steps: it begins one answer in six with it."""
    return float(text.startswith("Hi"))


def practise(directory, recipe, base, snapshot, monkeypatch, *, check=starts_with_hi, **config):
    """Carry out a short run; `given` things of the run (seed, models) may stand among the options."""
    given = {name: config.pop(name) for name in ("seed", "models", "resume_from", "checkpoint_steps") if name in config}
    if check is not None:
        config["checker"] = judge_by(monkeypatch, check)
    wanted = {name: value for name, value in {**QUICK, **config}.items() if value is not None}
    return carry_out(directory, recipe, wanted, base_model=base, snapshot=snapshot, **given)


def adapter_of(run):
    from safetensors.torch import load_file

    return load_file(run.artifact / "adapter_model.safetensors")
