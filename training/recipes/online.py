"""What the recipes that have their own answers judged share: their options, a step's draw, measuring, and the end of a
run. The answers themselves, and learning from them, are in `answers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from training import engine
from training.recipes.answers import Answers
from training.recipes.asking import Ask, asks, draw, give_back
from training.recipes.base import RecipeConfig, option, pack_tokens
from training.recipes.before_after import BeforeAfter
from training.recipes.context import RecipeError, RunContext
from training.recipes.rewarding import CHECKERS, Judge, Normalise, Reduction, weights_of
from training.recipes.watching import TAKES, Watcher

if TYPE_CHECKING:
    from training.engine.packs import Budget
    from training.engine.policy import Policy
    from training.engine.rollouts import Sampling

TOGETHER = 4096  # tokens of a group of answers that are computed together; longer groups are parted


class Practice(RecipeConfig):
    """Options of every recipe that has its own answers judged. Top-p and top-k are missing on purpose: a truncated
    distribution is not the one whose gradient is taken.
    """

    prompts: int = option(16, "prompts of one step", unit="prompts", ge=1, le=100_000)
    samples: int = option(8, "answers to each prompt", unit="answers", ge=1, le=1024)
    temperature: float = option(1.0, "of sampling; training divides the logits by it as well", gt=0, le=2)
    max_new_tokens: int = option(128, "longest answer", unit="tokens", ge=1, le=32768)
    reduction: Reduction = option(
        "mean",
        "a span reward model's scores as one number: the tokens' mean, or every good or bad phrase counting once",
    )
    checker: str = option(
        "", "a program that knows the truth of a world and judges beside the models: support, words, digits, cycles"
    )
    weights: str = option("", "weights of several judges, as in reward_model=1, checker=0.5; 1 where not named")
    normalise: Normalise = option(
        "none",
        "the judges before they are weighed: as they are, standardised over the answers judged together, or by the "
        "mean and deviation that a reward model's artifact holds",
        source="none",
    )
    missing_stop: float = option(0.0, "taken from the reward of an answer that was cut off", ge=0)
    empty: float = option(1.0, "taken from the reward of an answer without a word", source="ours", ge=0)
    lr: float = option(1e-6, "learning rate", gt=0, le=0.1)
    schedule: Literal["linear", "constant", "cosine"] = option(
        "linear", "how the learning rate goes on after its warm-up"
    )
    rank: int = option(16, "rank of the adapter", ge=1, le=256)
    passage_tokens: int = option(
        256,
        "how much of a prompt's passages the policy is shown: their best sentences; 0 shows none",
        unit="tokens",
        ge=0,
    )
    max_prompt_tokens: int = option(512, "longer prompts are left out and counted", unit="tokens", ge=8, le=32768)
    held_out: int = option(
        16, "prompts of the dev split on which the policy is measured", unit="prompts", ge=0, le=1000
    )
    every: int = option(10, "how often it is measured on them, and always at the end; 0: only then", unit="steps", ge=0)
    new_answers: int = option(
        16, "answers of the final policy that go back to the people", unit="answers", ge=0, le=10_000
    )
    micro_batch_tokens: int = pack_tokens()
    decode_rows: int = option(64, "answers written at one time; changes memory, not what is written", ge=1, le=4096)

    @field_validator("weights")
    @classmethod
    def _reads_as_weights(cls, value: str) -> str:
        weights_of(value)
        return value

    @field_validator("checker")
    @classmethod
    def _is_a_checker(cls, value: str) -> str:
        if value and value.partition(":")[0] not in CHECKERS:
            raise ValueError(f"there is no such checker; there are {', '.join(CHECKERS)}")
        return value

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn, in training and when it is measured."""
        return engine.rollouts.Sampling(max_tokens=self.max_new_tokens, temperature=self.temperature)

    @property
    def budget(self) -> Budget:
        """Tokens of a pack. The answers to one prompt stay together, up to so many that memory would not hold them."""
        return engine.packs.Budget(self.micro_batch_tokens, max(TOGETHER, self.max_prompt_tokens + self.max_new_tokens))

    def judge(self, run: RunContext, policy: Policy, **shaping: float) -> Judge:
        """All that judges this run's answers; reward models stand beside the policy, on its base where it is theirs."""
        return Judge.of(
            run,
            beside=policy,
            reduction=self.reduction,
            checker=self.checker,
            weights=self.weights,
            normalise=self.normalise,
            missing_stop=self.missing_stop,
            empty=self.empty,
            longest=self.max_new_tokens,
            **shaping,
        )

    def asks(self, run: RunContext, policy: Policy, split: str | None) -> list[Ask]:
        """The prompts of a split as this policy is given them."""
        return asks(run, policy.tokenizer, split, passage_tokens=self.passage_tokens, longest=self.max_prompt_tokens)


class Watched(Practice):
    """Options of those that go on sampling while they learn, and are watched for reward hacking (see `watching`)."""

    also_takes: ClassVar[tuple[str, ...]] = (TAKES,)

    truth: str = option(
        "", "a program that tells how good an answer is and trains nothing: support, words, digits, cycles"
    )
    watch_answers: int = option(
        64,
        "answers of the first policy, against which length, repetition, phrases and the judge's lead over the truth "
        "are watched; 0: no watch",
        unit="answers",
        source="ours",
        ge=0,
        le=10_000,
    )
    on_hacking: Literal["say", "stop"] = option(
        "say",
        "what an alarm of the watch does: a line in the log, or the end, with the best earlier weights put back",
        source="ours",
    )

    @field_validator("truth")
    @classmethod
    def _is_a_truth(cls, value: str) -> str:
        return cls._is_a_checker(value)

    @model_validator(mode="after")
    def _can_go_back(self) -> Watched:
        if self.on_hacking == "stop" and not (self.every and self.held_out and self.watch_answers):
            raise ValueError("to end when an alarm begins, set every, held_out and watch_answers above 0")
        return self

    def judge(self, run: RunContext, policy: Policy, **shaping: float) -> Judge:
        """All that judges this run's answers, and what watches it."""
        judge = super().judge(run, policy, **shaping)
        return replace(judge, watch=Watcher.of(run, self, policy, truth=self.truth)) if self.watch_answers else judge


class Online(Watched):
    """Options of those that sample for every optimiser step."""

    steps: int = option(100, "batches of prompts", source="ours", ge=1, le=1_000_000)


def answer(
    run: RunContext, config: Practice, policy: Policy, judge: Judge, chosen: Sequence[Ask], n: int, *, seed: int
) -> Answers:
    """Draw `n` answers to each prompt and have them judged. Raises RecipeError where the model's layers are spread over
    processes: none of them could write by itself.
    """
    if engine.distributed.here().sharded:
        raise RecipeError(
            "run.sharded",
            "A policy whose layers are spread over processes cannot write answers while it learns.",
            "Use one process, or several that hold the whole model each (DDP).",
        )
    groups = draw(run, policy, chosen, n, sampling=config.sampling, seed=seed, rows=config.decode_rows)
    asked = [ask for ask in chosen for _ in range(n)]
    verdict = judge(asked, [one for group in groups for one in group])
    return Answers(
        list(chosen),
        groups,
        verdict.total.reshape(len(chosen), n),
        {name: values.reshape(len(chosen), n) for name, values in verdict.parts.items()},
        [verdict.places[start : start + n] for start in range(0, len(asked), n)],
        {name: values.reshape(len(chosen), n) for name, values in verdict.raw.items()},
        None if verdict.rewarded is None else verdict.rewarded.reshape(len(chosen), n),
        judge.watch,
    )


def seed_of(run: RunContext, step: int, what: str = "") -> int:
    """A seed for the sampling of one step, of the run's seed and the step's number alone (and of the process, where
    several share a step's prompts): a step that is done again after a stop samples the same answers.
    """
    rank = engine.distributed.here().rank
    return run.random(f"sampling {step} {what}{f' of {rank}' if rank else ''}").getrandbits(40)


class HeldOut:
    """Measures the policy on prompts of the dev split, when called and at the start of a run; then the run's watch, if
    it has one, begins as well.
    """

    def __init__(self, run: RunContext, config: Practice, policy: Policy, judge: Judge, *, total: int) -> None:
        self.run, self.config, self.policy, self.judge = run, config, policy, judge.for_measuring
        self.watch: Watcher | None = judge.watch
        self.asks = config.asks(run, policy, "dev")[: config.held_out]
        self.last: dict[str, float] = {}
        self.total = total
        self.before_after = BeforeAfter(self.judge, getattr(config, "truth", ""))
        if run.resumed is None:
            figures = {**self(), **(self.watch.begin(policy, judge) if self.watch else {})}
            if figures:
                run.metrics(0, total, **figures)

    def __call__(self) -> dict[str, float]:
        """The mean reward of one answer to each, always drawn with the same seeds, and the truth where something tells
        it.
        """
        if not self.asks:
            return {}
        found = answer(self.run, self.config, self.policy, self.judge, self.asks, 1, seed=self.run.seed)
        judged = found.rewards[~found.rewards.isnan()]
        self.last = {"held_out_answer_tokens": sum(len(one.ids) for one in found.flat) / len(found.flat)}
        if len(judged):
            self.last["held_out_reward"] = judged.mean().item()
        self.last |= self.before_after.saw(found.asks, found.flat)
        if self.watch is not None:
            self.last |= self.watch.held_out(found.asks, found.flat)
        return self.last

    def compare(self) -> None:
        """Show the first policy's answers beside the last one's."""
        if not self.asks:
            return
        if not self.before_after.after:
            self()
        self.run.sample(self.total, **self.before_after.shown())

    # what `steps` asks of one that may end a training

    @property
    def over(self) -> str:
        """Why the training is to end now."""
        return self.watch.over if self.watch else ""

    @property
    def best(self) -> str | None:
        """The figure by which weights are chosen that are put back then."""
        return self.watch.best if self.watch else None

    def worth(self, values: Mapping[str, float]) -> float | None:
        """How good the weights of an evaluation are."""
        return self.watch.worth(values) if self.watch else None

    def state_dict(self) -> dict[str, Any]:
        """What an attempt that goes on must know of the first policy."""
        watch = self.watch.state_dict() if self.watch else None
        return {"watch": watch, "before": self.before_after.before, "last": self.last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        if self.watch and state["watch"]:
            self.watch.load_state_dict(state["watch"])
        self.before_after.before, self.last = state["before"], dict(state["last"])


def finish(run: RunContext, config: Practice, policy: Policy, held_out: HeldOut, **more: Any) -> None:
    """Save the policy, give its new answers back to the people, and announce it."""
    policy.save(run.artifact_path)
    if isinstance(held_out, HeldOut):
        held_out.compare()
    if config.new_answers:
        give_back(
            run,
            policy,
            config.asks(run, policy, None)[: config.new_answers],
            sampling=config.sampling,
            seed=seed_of(run, 0, "new answers"),
            rows=config.decode_rows,
            passage_tokens=config.passage_tokens,
        )
    run.artifact(
        kind="policy",
        base=str(run.base_model),
        prompt={"passage_tokens": config.passage_tokens},
        parent=str(run.models["policy"]) if "policy" in run.models else None,
        metrics=held_out.last or held_out(),
        **more,
    )
