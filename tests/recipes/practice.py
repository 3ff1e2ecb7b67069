"""Cheap practice for the recipes that learn from their own answers: few prompts, short answers, programs that judge."""

import statistics

from tests.recipes.conftest import carry_out
from training.engine.policy import Policy
from training.engine.rollouts import Sampling, sample
from training.engine.scoring import prompt_ids
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


def told_after(run, step):
    """All figures of the steps after this one, as they were said."""
    return {event["step"]: event["values"] for event in run.of("metrics") if event["step"] > step}


def adapter_of(run):
    from safetensors.torch import load_file

    return load_file(run.artifact / "adapter_model.safetensors")


def quality_told(name, world, base, adapter, rewards=()):
    """By how much the true quality of answers rose, with a 95 % interval over prompts; said as well. 100 held-out
    prompts, three answers each at temperature 0.7, the same seeds before and after.
    """
    asked = world.prompts(100, seed=199, split="test")
    before, after = (qualities(world, asked, base, which) for which in (None, adapter))
    rises = [now - then for now, then in zip(after, before, strict=True)]
    rise, half = statistics.fmean(rises), 1.96 * statistics.stdev(rises) / len(rises) ** 0.5
    paid = f", reward {rewards[0]:.2f} -> {rewards[-1]:.2f}" if rewards else ""
    said = (
        f"true quality {statistics.fmean(before):.3f} -> {statistics.fmean(after):.3f}, rise {rise:.3f} +- {half:.3f}"
    )
    print(f"\n{name}: {said}{paid}")  # noqa: T201
    return rise


def qualities(world, asked, base, adapter):
    policy = Policy.open(base, adapter)
    ids = [prompt_ids(policy.tokenizer, one.messages, [], passage_tokens=0) for one in asked]
    drawn = sample(policy, ids, 3, sampling=Sampling(max_tokens=120, temperature=0.7), seed=7)
    found = [world.true_quality(asked[one.prompt], one.text) for one in drawn]
    return [statistics.fmean(found[start : start + 3]) for start in range(0, len(found), 3)]
