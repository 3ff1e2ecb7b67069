"""Text2Grad: the phrases that were criticised, and only these, are what the policy's gradient is about.

Paper: Text2Grad, Reinforcement Learning from Natural Language Feedback (arXiv 2505.22338), stage 2.

    delta_t in [-1, 1]                      what was marked on token t: good +1, bad -1, nothing 0
    NL-gradient = sum_t delta_t grad log pi(y_t | x, y_<t);  the practical update is PPO on it:
    r_t = delta_t - beta KL_t;   A_t = r_t + gamma V_{t+1} - V_t + gamma lam A_{t+1};   ret = A + V;   A <- whitened
    loss = mean_t max(-A rho, -A clip(rho, 1 - c, 1 + c)) + vf 0.5 mean_t max((V - ret)^2, (clip(V, V_old, cv) - ret)^2)

Who marks: a span reward model, a critique model (its quotes), both as two annotators, or people: in the human round
their marks on the policy's own answers stand in the snapshot, and an answer is learned from only while its tokens'
log-probabilities are what they were when it was sampled (on average within `moved`). KL_t is exact over the vocabulary,
or of the sampled token; beta may follow a target.

Where we differ from the paper's code: one function from spans to tokens, the negative wins where marks meet, tokens
without a letter or digit earn nothing but stay in the batch; an answer without a verdict leaves the batch (no reward,
no KL, not in the statistics), and a step that has lost more than half of its answers learns nothing. Optional: a third
of the reward for every degree of severity; advantages that are scaled but not moved, so that in a batch of poor answers
the unmarked tokens are not praised. An empty answer loses `empty` on its stop token: with blame alone a policy would
fall silent. `pay` holds the two controls: the same sum as one number on the last token, and another answer's marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from training import engine
from training.recipes.answers import Answers, Gap
from training.recipes.asking import asks_to_learn_from, question_of
from training.recipes.base import Recipe, option
from training.recipes.context import RecipeError, RunContext
from training.recipes.marking import KINDS, READERS, Marker, Marking, Score, sources_of
from training.recipes.online import HeldOut, answer, finish, seed_of
from training.recipes.own_answers import Own, own_answers
from training.recipes.rewarding import Judge, by_program, weights_of
from training.recipes.steps import steps
from training.recipes.valuing import Critic, Pull, WithCritic, actor_and_critic, loss_of, valued
from training.recipes.watching import Watcher

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.loop import Loop
    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy
    from training.engine.ragged import Ragged

SLACK = 6  # tokens beyond `damping` at which a reward is halved (the paper's)


class Config(WithCritic):
    """Options of text2grad. How a verdict becomes one number is not asked: every token has its own."""

    reduction: ClassVar[str] = "mean"
    normalise: ClassVar[str] = "none"

    weights: str = option("", "of marks and a checker beside them, as in marks=1, checker=0.5; 1 where not named")

    feedback: Literal["model", "people", "both"] = option(
        "model",
        "who marks: models (or a program), people on the policy's own answers in the snapshot, or people's first",
        source="paper: model",
    )
    pay: Literal["spans", "end", "shuffled"] = option(
        "spans",
        "where marks are paid: on their tokens; as controls, in sum on the last token, or on another answer's tokens",
        source="paper: spans",
    )
    score: Score = option("argmax", "a span reward model's token as -1, 0 or 1, or softly as p(good) - p(bad)")
    reader: str = option("", "a program that marks the answers, for demonstrations: words, support")
    words_only: bool = option(True, "tokens without a letter or digit earn nothing", source="paper")
    sign_conflict: Literal["negative", "positive", "mean"] = option(
        "negative", "who wins where a good and a bad mark meet", source="paper's code: by task"
    )
    by_severity: bool = option(False, "people's marks count a third for every degree of severity", source="ours")
    damping: int = option(
        0,
        "tokens from the first marked one on after which rewards fade, so that saying more stops paying; 0: never",
        unit="tokens",
        source="summaries: 48",
        ge=0,
    )
    whitening: Literal["full", "scale", "none"] = option(
        "full", "advantages of a step: mean 0 and deviation 1, only scaled, or as they are", source="paper: full"
    )
    samples: int = option(1, "answers to each prompt", unit="answers", source="paper: 1", ge=1, le=1024)
    kl_estimator: Literal["k1", "k3", "full"] = option(
        "full",
        "how the KL is told: exactly over the vocabulary, or from the token that was drawn",
        source="paper: full",
    )
    ratio_limit: float = option(
        10.0, "skip an update whose mean ratio of probabilities is beyond this", source="paper's code: 10", gt=1
    )
    fewest: float = option(
        0.5, "a step with a smaller share of judged answers learns nothing", source="card: half", ge=0, le=1
    )
    moved: float = option(
        0.1,
        "human round: leave out an answer whose tokens' log-probabilities differ more, on average, from the sampler's",
        unit="nats",
        source="ours",
        gt=0,
    )

    @field_validator("weights")
    @classmethod
    def _weighs_what_there_is(cls, value: str) -> str:
        if strange := sorted(weights_of(value).keys() - {"marks", "checker"}):
            raise ValueError(f"there is no {strange[0]} here; weights are of marks and of checker")
        return value

    @field_validator("reader")
    @classmethod
    def _is_a_reader(cls, value: str) -> str:
        if value and value.partition(":")[0] not in READERS:
            raise ValueError(f"there is no such reader; there are {', '.join(READERS)}")
        return value

    def judge(self, run: RunContext, policy: Policy, **shaping: float) -> Judge:
        """The marks, beside them a checker, and what an answer loses for being empty or cut off; and what watches."""
        rules: Any = {"words_only": self.words_only, "sign_conflict": self.sign_conflict}
        sources = sources_of(run, policy, reader=self.reader, score=self.score)
        judge = Judge(
            {
                "marks": Marker(policy.tokenizer, sources, rules),
                **({"checker": by_program(self.checker)} if self.checker else {}),
            },
            weights_of(self.weights),
            missing_stop=self.missing_stop,
            empty=self.empty,
            longest=self.max_new_tokens,
            **shaping,  # type: ignore[arg-type]
        )
        return replace(judge, watch=Watcher.of(run, self, policy)) if self.watch_answers else judge


def train(run: RunContext, config: Config) -> None:
    """Each step: answers to a batch of prompts (or people's), marks as rewards on their tokens, `epochs` readings."""
    if config.feedback != "people" and not config.reader and not set(KINDS) & set(run.models):
        raise RecipeError(
            "run.input_missing",
            "Nothing marks the answers.",
            "Choose a span reward model or a critique model, or let people mark the policy's own answers (feedback).",
        )
    policy, critic = actor_and_critic(run, config)
    judge = config.judge(run, policy)
    human = human_batches(run, config, policy) if config.feedback != "model" else []
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    total = len(human) + (config.steps if config.feedback != "people" else 0)
    held_out = HeldOut(run, config, policy, judge, total=total)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=total, seed=run.seed)
    loop = engine.loop.Loop(
        [{"params": policy.parameters}, {"params": critic.parameters, "lr": config.critic_lr or config.lr}],
        lr=config.lr,
        steps=total * config.epochs * config.minibatches,
        schedule=config.schedule,
    )
    pull = Pull(config)
    parts = {"policy": policy, "value_head": critic.head, "pull": pull}

    for step in steps(run, loop, batches, parts=parts, evaluate=held_out, every=config.every):
        by_people = step.number < len(human)
        if by_people:
            marked = of_people(config, judge, engine.distributed.here().share(human[step.number]))
        else:
            seed = seed_of(run, step.number)
            marked = Marked.of(judge, answer(run, config, policy, judge, step.batch, config.samples, seed=seed))
        with policy.without_dropout():
            updates, told = experience(config, policy, critic, marked, beta=pull.beta, off_policy=by_people)
            figures = improve(run, config, policy, critic, loop, updates)
        pull.follow(told["kl/answer"], 0 if told["skipped/unjudged"] else int(marked.answers.counted().sum()))
        step.report(**marked.answers.figures(groups=False), **marked.figures(), **told, **figures)
        marked.show(run, policy, step.number + 1, updates)
    finish(run, config, policy, held_out, critic=critic.save(run))


# --- answers with a reward on each of their tokens


@dataclass(frozen=True)
class Marked:
    """A step's answers, with what was marked in each: one after another, group after group."""

    answers: Answers
    markings: Sequence[Marking | None]
    delta: Sequence[list[float] | None]  # of each answer's tokens, the stop token with them; None without a verdict

    @classmethod
    def of(cls, judge: Judge, answers: Answers) -> Marked:
        """The answers that the judge was asked about last."""
        marker = judge.sources["marks"]
        assert isinstance(marker, Marker)
        return cls(replace(answers, rewarded=seen(marker.delta, answers)), list(marker.last), list(marker.delta))

    def place_of(self, row: Row) -> int:
        """Which of the answers a row is."""
        return int(row.of_row["group"]) * self.answers.rewards.shape[1] + int(row.of_row["answer"])

    def delta_of(self, row: Row) -> list[float]:
        """Of the answer that this row is."""
        return list(self.delta[self.place_of(row)] or ())

    def figures(self) -> dict[str, float]:
        """Mean of delta, shares of tokens above, at and below 0; answers without a verdict; quotes that were lost."""
        values = [value for one in self.delta if one is not None for value in one]
        told = {"unparsed": sum(one is None for one in self.delta) / max(1, len(self.delta))}
        if any(one is not None and one.words for one in self.markings):
            told["quotes_lost"] = float(sum(one.lost for one in self.markings if one is not None))
        if values:
            told |= {
                "delta/mean": sum(values) / len(values),
                "delta/positive": sum(value > 0 for value in values) / len(values),
                "delta/zero": sum(value == 0 for value in values) / len(values),
                "delta/negative": sum(value < 0 for value in values) / len(values),
            }
        return told

    def show(
        self, run: RunContext, policy: Policy, step: int, updates: Sequence[Sequence[Sequence[Row]]], n: int = 2
    ) -> None:
        """A few answers as heat maps: delta, and what became of it, the advantage."""
        rows = [row for part in updates for unit in part for row in unit]
        for row in sorted(rows, key=self.place_of)[:n]:
            place, ask = self.place_of(row), self.answers.asks[int(row.of_row["group"])]
            sample, marking = self.answers.flat[place], self.markings[place]
            offsets = engine.marks.offsets_of(policy.tokenizer, sample.ids, sample.text)

            def on_text(values: Sequence[float], offsets: Sequence[tuple[int, int]] = offsets) -> list[list[float]]:
                return [[start, end, round(value, 4)] for (start, end), value in zip(offsets, values, strict=False)]

            run.sample(
                step,
                prompt_id=ask.prompt_id,
                question=question_of(ask),
                text=sample.text,
                reward=sum(self.delta_of(row)),
                critique=marking.words if marking else "",
                tokens=on_text(self.delta_of(row)),
                maps={"advantage": on_text(row.of_tokens["advantages"])},
            )


def human_batches(run: RunContext, config: Config, policy: Policy) -> list[list[Own]]:
    """The policy's own answers that people have marked, each once."""
    own = own_answers(run, config, policy, moved=config.moved, by_severity=config.by_severity)
    size = config.prompts * config.samples
    return [own[start : start + size] for start in range(0, len(own), size)]


def of_people(config: Config, judge: Judge, chosen: Sequence[Own]) -> Marked:
    """People's marks in place of a model's; each answer is a group of its own."""
    import torch

    marker = judge.sources["marks"]
    assert isinstance(marker, Marker)
    delta = [marker.on_tokens(one.sample, one.marking) for one in chosen]
    worth = torch.tensor([sum(one) for one in delta], dtype=torch.float64)[:, None]
    answers = Answers([one.ask for one in chosen], [[one.sample] for one in chosen], worth, {"marks": worth})
    return Marked(replace(answers, rewarded=seen(delta, answers)), [one.marking for one in chosen], delta)


def seen(delta: Sequence[list[float] | None], answers: Answers) -> Tensor:
    """How many tokens of each answer were marked at all, [Q, G]."""
    import torch

    counts = [float(sum(value != 0 for value in one or ())) for one in delta]
    return torch.tensor(counts, dtype=torch.float64).reshape(answers.rewards.shape)


# --- learning


def experience(
    config: Config, policy: Policy, critic: Critic, marked: Marked, *, beta: float, off_policy: bool = False
) -> tuple[list[list[list[Row]]], dict[str, float]]:
    """The judged answers as rows that know their advantages and returns; none where too few of a step's are judged."""

    def pay(rows: Sequence[Row], ragged: Ragged) -> Tensor:
        return paid(config, marked, rows, ragged)

    counted = marked.answers.counted()
    sums = engine.distributed.here().sums({"judged": float(counted.sum()), "all": float(counted.numel())})
    too_few = sums["judged"] < config.fewest * sums["all"]
    units = [] if too_few else marked.answers.units(config.budget, leave_out=~counted)
    updates, told = valued(
        config,
        policy,
        critic,
        units,
        beta=beta,
        pay=pay,
        whitening=None if config.whitening == "none" else config.whitening,
        off_policy=off_policy,
    )
    return updates, {**told, "skipped/unjudged": float(too_few)}


def paid(config: Config, marked: Marked, rows: Sequence[Row], ragged: Ragged) -> Tensor:
    """r_t of the rows' tokens [N], the KL not yet taken off: delta where `pay` says, damped; what an answer loses for
    being empty or cut off, and what a checker says, is on its last token.
    """
    import torch

    weight = weights_of(config.weights).get("marks", 1.0)
    delta = [[weight * value for value in marked.delta_of(row)] for row in rows]
    if config.pay == "shuffled":
        others = [delta[place] for place in of_others(rows)]
        delta = [(other + [0.0] * len(own))[: len(own)] for own, other in zip(delta, others, strict=True)]
    rewards = torch.tensor([value for one in delta for value in one])
    if config.damping:
        rewards = engine.rewards.length_damping(rewards, ragged, target=config.damping, slack=SLACK)
    if config.pay == "end":
        rewards = engine.rewards.on_last_token(ragged.sum(rewards), ragged)
    shaping = [
        sum(
            values[int(row.of_row["group"]), int(row.of_row["answer"])].item()
            for name, values in marked.answers.parts.items()
            if name != "marks"
        )
        for row in rows
    ]
    return rewards + engine.rewards.on_last_token(torch.tensor(shaping, dtype=rewards.dtype), ragged)


def of_others(rows: Sequence[Row]) -> list[int]:
    """For each row the place of one of another prompt, the next in the step; the last ones get the first."""
    found = []
    for place, row in enumerate(rows):
        later = [*range(place + 1, len(rows)), *range(place)]
        found.append(next((one for one in later if rows[one].of_row["group"] != row.of_row["group"]), place))
    return found


def improve(
    run: RunContext,
    config: Config,
    policy: Policy,
    critic: Critic,
    loop: Loop,
    updates: Sequence[Sequence[Sequence[Row]]],
) -> dict[str, float]:
    """`epochs` readings of the step's minibatches, one optimiser step each; those whose mean ratio is beyond the limit
    are forgotten.
    """
    gap = Gap()
    told: dict[str, list[float]] = {}
    skipped = 0

    def objective(pack: Pack) -> Loss:
        return loss_of(config, policy, critic, pack, gap)

    for units in list(updates) * config.epochs:
        packs = engine.packs.micro_batches(units, tokens=config.budget, device=policy.device)
        loop.forward_backward(run.heed(packs), objective)
        ratio = loop.so_far().get("ratio", 1.0)
        if ratio > config.ratio_limit:
            skipped += 1
            values = loop.skip_step(f"the mean ratio is {ratio:.3g}, beyond {config.ratio_limit:g}.")
        else:
            values = loop.optim_step()
        for name, value in values.items():
            if units or name == "lr":
                told.setdefault(name, []).append(value)
    figures = {name: values[-1] if name == "lr" else sum(values) / len(values) for name, values in told.items()}
    return {**figures, **gap.figures(), "skipped/ratio": float(skipped)}


RECIPE = Recipe(
    name="text2grad",
    title="Text2Grad",
    paper="Text2Grad: Reinforcement Learning from Natural Language Feedback (arXiv 2505.22338)",
    summary="Turns marks on phrases into a reward on each of their tokens: what was criticised becomes less likely, "
    "what was praised more, and the rest is left alone.",
    consumes=("Prompt", "SpanCritique"),
    needs=(),
    takes=(*KINDS, "policy"),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "steps": 6000,
            "prompts": 8,
            "max_new_tokens": 512,
            "max_prompt_tokens": 1024,
            "temperature": 0.6,
            "lr": 1e-6,
            "schedule": "cosine",
            "beta": 0.05,
            "kl_target": 6.0,
            "empty": 0.0,
            "held_out": 128,
        },
        "laptop": {
            "steps": 30,
            "prompts": 16,
            "samples": 2,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "score": "soft",
            "epochs": 2,
            "beta": 0.02,
            "kl_estimator": "k1",
            "critic": "head",
            "critic_lr": 2e-3,
            "missing_stop": 1.0,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
