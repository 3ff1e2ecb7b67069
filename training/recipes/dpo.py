"""Preferences straight to a policy, without a reward model: DPO and its kin, and KTO for single verdicts.

u and v are log p - log p_ref of the chosen and the rejected answer, d = u - v; M is an answer's mean log p a token.

    dpo       -log sigmoid(beta d)                                arXiv 2305.18290, eq. 7
    ipo       (u / n_w - v / n_l - 1 / (2 beta))^2                arXiv 2310.12036, eq. 17, on a token's mean
    hinge     max(0, 1 - beta d)                                  SLiC, arXiv 2305.10425
    robust    unbiased where a share `flipped` is the wrong way   arXiv 2403.00409
    mean      -log sigmoid(beta (u / n_w - v / n_l))              Tulu 3, arXiv 2411.15124
    apo_zero  1 - sigmoid(beta u) + sigmoid(beta v)               arXiv 2408.06266
    orpo      NLL(chosen) - beta log sigmoid(log odds ratio)      arXiv 2403.07691; no reference
    simpo     -log sigmoid(beta (M_w - M_l) - gamma)              arXiv 2405.14734; no reference
    kto       1 - sigmoid(beta (u - z)) good, 1 - sigmoid(beta (z - v)) bad     arXiv 2402.01306

The reference is the base with the adapter off, or the frozen parent when a run goes on from another's policy: before
the first step both are the same to the last bit, which is looked at. A pair is read in one piece, its prompt once.
KTO's z is how far the policy has gone on answers that belong to another prompt of the same step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from training import engine
from training.recipes.base import Recipe, option, pack_tokens
from training.recipes.comparisons import of_dimension, pairs_in
from training.recipes.context import RecipeError, RunContext
from training.recipes.learning import Sieve, name_of, need_something, new_answers, policy_card, votes
from training.recipes.steps import steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.objectives import Loss, PairLogprobs
    from training.engine.packs import Budget, Pack, Row
    from training.engine.policy import Policy

BETAS = {"simpo": 2.0}  # of the losses whose usual beta is not 0.1
FREE = ("orpo", "simpo")  # of a reference
SUNK = 1.0  # nats that the chosen answers have lost on the mean, over SUNK_FOR steps: then a word in the log
SUNK_FOR = 10


class Config(Weights):
    """Options of dpo."""

    loss: Literal["dpo", "ipo", "hinge", "robust", "mean", "apo_zero", "orpo", "simpo", "kto"] = option(
        "dpo", "which objective; kto learns from single verdicts, all others from pairs"
    )
    beta: float | None = option(
        None, "how far the policy may go (small: far); empty: 0.1, for simpo 2", source="0.1", gt=0, le=100
    )
    label_smoothing: float = option(0.0, "dpo: share of pairs believed to be the wrong way round", ge=0, lt=0.5)
    flipped: float = option(0.1, "robust: share of pairs that are the wrong way round", ge=0, lt=0.5)
    gamma: float = option(1.0, "simpo: margin that the rewards should be apart", source="0.3-0.5 of beta", ge=0)
    sft_weight: float = option(
        0.0, "weight of the chosen answers' own likelihood beside the loss: 1 where they sink", ge=0, le=10
    )
    strength: Literal["alike", "weight"] = option(
        "alike", "pairs: all count alike, or by how clear they are (slightly 1/3, clearly 2/3, far better 1)"
    )
    dimension: str = option("", "of the comparisons, rankings or ratings that count; empty: overall (ratings: any)")
    rankings: bool = option(True, "learn the pairs that are in rankings and choices")
    rewrites: bool = option(False, "learn that a better version that somebody wrote beats the answer that it mends")
    good_rating: float | None = option(None, "kto: a rating from this value up is good, below bad; empty: none counts")
    desirable_weight: float | None = option(
        None, "kto: weight of good answers; empty: as much in all as the bad ones", gt=0, le=1000
    )
    undesirable_weight: float = option(1.0, "kto: weight of bad answers", gt=0, le=1000)
    epochs: int = option(1, "how often every pair is read", source="1-3", ge=1, le=50)
    batch_size: int = option(16, "pairs that one step learns from", source="DPO: 64", ge=1, le=1024)
    lr: float = option(5e-5, "learning rate of the adapter", source="ours; DPO 1e-6 for all weights", gt=0, le=0.1)
    rank: int = option(16, "rank of the adapter", ge=1, le=256)
    weight_decay: float = option(0.0, "decay of the adapter's weights", ge=0, le=1)
    precompute_reference: bool = option(False, "ask the reference once, before the first step, instead of in every one")
    passage_tokens: int = option(
        256, "how much of a prompt's passages is shown: their best sentences; 0 shows none", unit="tokens", ge=0
    )
    max_tokens: int = option(
        1024, "longer prompts with their answer are left out, counted and listed", unit="tokens", ge=16, le=32768
    )
    max_left_out: float = option(0.2, "refuse to start when a larger share of the records is left out", ge=0, le=1)
    evaluate_every: int = option(
        20, "steps between two measurements on the dev split; 0: at the end only", unit="steps", ge=0, le=100_000
    )
    patience: int = option(
        0, "end after so many measurements without a lower dev loss; the best weights are kept; 0: never", ge=0, le=1000
    )
    new_answers: int = option(
        16, "answers of the final policy that go back to the people", unit="answers", ge=0, le=10_000
    )
    max_new_tokens: int = option(128, "longest new answer", unit="tokens", ge=1, le=4096)
    temperature: float = option(0.7, "of sampling new answers", gt=0, le=2)
    micro_batch_tokens: int = pack_tokens()

    @property
    def strictness(self) -> float:
        """The beta that is used."""
        return self.beta if self.beta is not None else BETAS.get(self.loss, 0.1)

    @property
    def recalls(self) -> bool:
        """The first model is asked in every step, unless it has been asked before; kto asks it of other answers too."""
        return self.loss not in FREE and (self.loss == "kto" or not self.precompute_reference)


def train(run: RunContext, config: Config) -> None:
    """Learn from the train split, watch the dev split, measure on test; new answers go back to the people."""
    policy = config.policy(run)
    data = {split: prepare(run, config, policy.tokenizer, split) for split in ("train", "dev", "test")}
    need_enough(config, data["train"])
    longest = max(sum(len(row.ids) for row in unit) for split in data.values() for unit in split)
    budget = engine.packs.Budget(config.micro_batch_tokens, max(longest, 2 * config.max_tokens))
    if config.precompute_reference and config.loss not in FREE:
        data = {split: with_reference(policy, units, budget=budget) for split, units in data.items()}
        run.log("The reference has read all answers once.")
    run.log(
        f"Learning by {config.loss} from {len(data['train'])} {what(config)}; {len(data['dev'])} (dev), "
        f"{len(data['test'])} (test)."
    )

    batches = engine.loop.Batches(data["train"], size=config.batch_size, seed=run.seed, **length(config, data["train"]))
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=len(batches), weight_decay=config.weight_decay)
    learner = Learner(config, policy, budget, good_weight=good_weight(config, data["train"]))
    watch = Watch(run, config)

    for step in steps(
        run,
        loop,
        batches,
        parts={"policy": policy},
        evaluate=(lambda: learner.measure(data["dev"], "dev_")) if data["dev"] else None,
        every=config.evaluate_every,
        best="min dev_loss" if data["dev"] else None,
        patience=config.patience,
    ):
        policy.model.train()
        objective = learner.objective(step.batch)
        loop.forward_backward(run.heed(engine.packs.micro_batches(step.batch, tokens=budget)), objective)
        values = loop.optim_step()
        watch.look(step.number, values)
        step.report(**values)

    figures = learner.measure(data["dev"], "dev_") | learner.measure(data["test"], "test_")
    policy.save(run.artifact_path)
    new_answers(
        run,
        policy,
        config.new_answers,
        longest=config.max_tokens,
        passage_tokens=config.passage_tokens,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
    )
    metrics = {**figures, what(config): len(data["train"])}
    run.artifact(loss=config.loss, **policy_card(run, passage_tokens=config.passage_tokens, metrics=metrics))


# --- what is learned from


def prepare(run: RunContext, config: Config, tokenizer: Any, split: str) -> list[list[Row]]:
    """The units of a split: a pair (chosen, rejected), or for kto one answer."""
    sieve = Sieve(tokenizer, longest=config.max_tokens, passage_tokens=config.passage_tokens)
    units = [rows for rows in (answers if config.loss == "kto" else pairs)(run, config, sieve, split) if rows]
    sieve.report(run, f"{what(config)} ({split})", most=config.max_left_out if split == "train" else None)
    return units


def pairs(run: RunContext, config: Config, sieve: Sieve, split: str) -> Iterator[list[Row] | None]:
    """Every comparison of the split as two rows."""
    kinds = ["preference", *(("ranking", "choice") if config.rankings else ()), *(["rewrite"] * config.rewrites)]
    for record in chain.from_iterable(run.rows(split, kind=kind) for kind in kinds):
        if of_dimension(record, config.dimension):
            for pair in pairs_in(record):
                weight = pair.weight * (pair.strength / 3 if config.strength == "weight" else 1.0)
                yield sieve.rows(
                    name_of(record), record, {"chosen": pair.chosen, "rejected": pair.rejected}, weight=weight
                )


def answers(run: RunContext, config: Config, sieve: Sieve, split: str) -> Iterator[list[Row] | None]:
    """Every answer of the split that more people spoke for than against, or the other way round, as one row."""
    for voted in votes(run.rows(split), good_rating=config.good_rating, dimension=config.dimension):
        good = voted.verdict or -(voted.silent > 0)
        if good:
            yield sieve.rows(name_of(voted.record), voted.record, {"": voted.record}, good=float(good > 0))


def need_enough(config: Config, units: Sequence[Sequence[Row]]) -> None:
    """Raise RecipeError where there is nothing to learn from, or for kto all of one kind."""
    need_something(
        units,
        what(config),
        "Send users' reactions or verdicts, or set good_rating, and start again."
        if config.loss == "kto"
        else "Compare some pairs of answers (ties teach nothing), or turn on rankings or rewrites, and start again.",
    )
    if config.loss == "kto" and len({unit[0].of_row["good"] for unit in units}) < 2:
        raise RecipeError(
            "data.one_sided",
            f"All {len(units)} judged answers are {'good' if units[0][0].of_row['good'] else 'bad'} ones; "
            "kto learns from both.",
            "Collect the other kind too, or use sft for good answers alone.",
        )


def what(config: Config) -> str:
    """What the run counts."""
    return "answers" if config.loss == "kto" else "pairs"


def length(config: Config, units: Sequence[Any]) -> dict[str, int]:
    """How many steps there are. For kto every batch is full: its zero point needs answers of several prompts."""
    if config.loss != "kto":
        return {"epochs": config.epochs}
    return {"steps": config.epochs * -(-len(units) // config.batch_size)}


def good_weight(config: Config, units: Sequence[Sequence[Row]]) -> float:
    """The weight of good answers in kto: given, or such that both kinds weigh the same in all."""
    if config.loss != "kto" or config.desirable_weight is not None:
        return config.desirable_weight or 1.0
    good = sum(unit[0].of_row["good"] for unit in units)
    return config.undesirable_weight * (len(units) - good) / good


def with_reference(policy: Policy, units: Sequence[Sequence[Row]], *, budget: Budget) -> list[list[Row]]:
    """The same units; every row holds the reference's log-probability of each of its trained tokens."""
    found = iter(engine.policy.reference_logprobs(policy, units, tokens=budget))
    return [[replace(row, of_tokens={**row.of_tokens, "reference": next(found)}) for row in unit] for unit in units]


# --- the objective and what is measured


@dataclass
class Learner:
    """The objective of a step, and the figures on held-out units."""

    config: Config
    policy: Policy
    budget: Budget
    good_weight: float = 1.0

    def objective(self, batch: Sequence[Sequence[Row]]) -> Any:
        """The loss of a pack of this step. What counts over the whole step is found out before its first pack."""
        if self.config.loss == "kto":
            zero = self.zero_point([row for unit in batch for row in unit])
            return lambda pack: self.of_answers(pack, zero)
        whole = engine.distributed.here().sums(
            {
                "weight": sum(unit[0].of_row["weight"] for unit in batch),
                "tokens": float(sum(sum(unit[0].trained) for unit in batch)),
            }
        )
        return lambda pack: self.of_pairs(pack, exchange=whole["weight"] / whole["tokens"])

    def of_pairs(self, pack: Pack, *, exchange: float = 1.0) -> Loss:
        """The loss of a pack of pairs; `exchange`: the step's pairs over its chosen answers' tokens."""
        config, objectives = self.config, engine.objectives
        logprobs = engine.logprobs.completion_logprobs(self.policy.model, pack).values
        chosen, rejected = engine.answers.pairs_of(pack)
        weights = pack.by_row("weight")[chosen]

        def of(values: Tensor) -> PairLogprobs:
            return objectives.PairLogprobs.of(values, pack.ragged, chosen=chosen, rejected=rejected)

        function, options = {
            "dpo": (objectives.dpo, {"label_smoothing": config.label_smoothing}),
            "ipo": (objectives.ipo, {}),
            "hinge": (objectives.dpo_hinge, {}),
            "robust": (objectives.dpo_robust, {"flipped": config.flipped}),
            "mean": (objectives.dpo_mean, {}),
            "apo_zero": (objectives.apo_zero, {}),
            "orpo": (objectives.orpo, {}),
            "simpo": (objectives.simpo, {"gamma": config.gamma}),
        }[config.loss]
        given = [of(logprobs)] if config.loss in FREE else [of(logprobs), of(self.reference(pack))]
        loss: Loss = function(*given, beta=config.strictness, weights=weights, **options)
        if config.sft_weight:
            of_chosen = (pack.row_of[:, None] == chosen).any(-1)
            nll = objectives.sft(logprobs, weights=of_chosen.to(logprobs.dtype))
            loss = loss.plus(nll, weight=config.sft_weight, exchange=exchange)
        return loss

    def of_answers(self, pack: Pack, zero: float) -> Loss:
        """kto's loss of a pack of answers, good and bad."""
        now = pack.sum_by_row(engine.logprobs.completion_logprobs(self.policy.model, pack).values)
        return engine.objectives.kto(
            now,
            pack.sum_by_row(self.reference(pack)),
            pack.by_row("good") > 0,
            zero_point=zero,
            beta=self.config.strictness,
            desirable_weight=self.good_weight,
            undesirable_weight=self.config.undesirable_weight,
        )

    def reference(self, pack: Pack) -> Tensor:
        """The reference's log-probabilities [N]: asked before the run, or now, of the very same pack."""
        if all("reference" in row.of_tokens for row in pack.rows):
            return pack.flat("reference")
        with self.policy.as_reference() as model:
            return engine.logprobs.completion_logprobs(model, pack).values

    def zero_point(self, rows: Sequence[Row]) -> float:
        """How far the policy has gone on answers that belong to another prompt: each prompt with its neighbour's."""
        gaps: list[float] = []
        if len(rows) > 1:
            partners = engine.objectives.mismatched(len(rows))
            answered = [engine.answers.swapped(rows[place], rows[other]) for place, other in enumerate(partners)]
            gaps = engine.policy.log_ratios(self.policy, answered, tokens=self.budget)
        whole = engine.distributed.here().sums({"gap": sum(gaps), "rows": float(len(gaps))})
        return max(0.0, whole["gap"] / whole["rows"]) if whole["rows"] else 0.0

    def measure(self, units: Sequence[Sequence[Row]], prefix: str) -> dict[str, float]:
        """On held-out units: the loss, the share of pairs whose chosen answer has the higher reward and by how much, or
        for kto the AUROC of the rewards.
        """
        if not units:
            return {}
        import torch

        self.policy.model.eval()
        totals: dict[str, float] = {}
        rewards: list[float] = []
        good: list[bool] = []
        count = 0.0
        with torch.no_grad():
            objective = self.objective(units)
            for pack in engine.packs.micro_batches(units, tokens=self.budget, device=self.policy.device):
                loss = objective(pack)
                count += float(loss.count)
                for name, value in {"loss": loss.total, **loss.metrics}.items():
                    totals[name] = totals.get(name, 0.0) + float(value)
                if self.config.loss == "kto":
                    now = engine.logprobs.completion_logprobs(self.policy.model, pack).values
                    rewards += pack.sum_by_row(now - self.reference(pack)).tolist()
                    good += (pack.by_row("good") > 0).tolist()
        means = {name: total / count for name, total in totals.items()}
        figures = {"loss": means["loss"]}
        if self.config.loss == "kto":
            auroc = engine.measures.auroc(rewards, good)
            figures |= {"auroc": auroc} if auroc is not None else {}
        else:
            figures |= {"accuracy": means["rewards/accuracy"], "margin": means["rewards/margin"]}
            figures |= {"logps_chosen": means["logps/chosen"], "logps_rejected": means["logps/rejected"]}
        return {f"{prefix}{name}": value for name, value in figures.items()}


@dataclass
class Watch:
    """Looks at every step's figures for what goes wrong with this method."""

    run: RunContext
    config: Config
    sinking: int = 0
    told: bool = False

    def look(self, number: int, values: dict[str, float]) -> None:
        """At the first step policy and reference must be the same; later the chosen answers should not sink."""
        if self.config.loss in FREE:
            return
        names = ("rewards/chosen", "rewards/rejected", "rewards/desirable", "rewards/undesirable")
        if number == 0:
            apart = max(abs(values[name]) for name in names if name in values)
            self.run.log(f"Before the first step the loss is {values['loss']:.6f} and rewards are {apart:.1g} from 0.")
            elsewhere = self.config.precompute_reference or self.config.trained == "all"  # another pack, or a copy
            if apart > (1e-3 if elsewhere else 0.0):  # these round as they like
                raise RecipeError(
                    "run.reference",
                    f"The policy and its reference differ before the first step, by {apart:.3g} in rewards.",
                    "This is a fault of the engine: report it with the base model's name.",
                )
        sunk = values.get("rewards/chosen", 0.0) / self.config.strictness < -SUNK
        self.sinking = self.sinking + 1 if sunk else 0
        if self.sinking >= SUNK_FOR and not self.told:
            self.told = True
            self.run.log(
                f"The chosen answers have been less probable than before training for {SUNK_FOR} steps: the policy "
                "learns what not to say, and not what to say. Set sft_weight to 1, or raise beta.",
                level="warning",
            )


RECIPE = Recipe(
    name="dpo",
    title="Preferences without a reward model (DPO and kin)",
    paper="DPO (arXiv 2305.18290); also IPO, SLiC, robust DPO, APO-zero, ORPO, SimPO, KTO",
    summary="Learns from comparisons (or, by KTO, from taps and verdicts) which answers to write.",
    consumes=("Preference", "Ranking", "Choice", "Rewrite", "Reaction", "Critique", "Rating"),
    needs=(),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "beta": 0.1,
            "lr": 1e-6,
            "batch_size": 64,
            "epochs": 1,
            "max_tokens": 1024,
            "passage_tokens": 512,
        },
        "laptop": {
            "epochs": 2,
            "batch_size": 8,
            "lr": 2e-4,
            "sft_weight": 1.0,  # without it a small model soon writes neither answer (docs/recipes.md)
            "passage_tokens": 160,
            "max_tokens": 512,
            "evaluate_every": 10,
            "max_new_tokens": 96,
        },
    },
    train=train,
)
