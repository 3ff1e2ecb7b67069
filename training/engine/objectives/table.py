"""The objectives as data, for forms, docs and the run page. Reading it does not load torch; calling one does.

A test holds every entry to its function: the same inputs, the same options, the same defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

Default = float | str | bool | None


@dataclass(frozen=True)
class Option:
    """A keyword of an objective: its default and, in one sentence, what it does."""

    default: Default
    does: str


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One row of the table."""

    name: str  # of the function
    title: str
    module: str  # of training.engine.objectives
    equation: str
    inputs: Mapping[str, str]  # shape and meaning of each tensor
    options: Mapping[str, Option] = field(default_factory=dict)
    source: str
    count: str  # what the sum is divided by, over the whole optimiser step

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself; loads torch."""
        found: Callable[..., Any] = getattr(import_module(f"training.engine.objectives.{self.module}"), self.name)
        return found


PAIRS = {"policy": "PairLogprobs [P]: sums over the completion's tokens, and their numbers"}
WITH_REFERENCE = PAIRS | {"reference": "PairLogprobs [P] of the frozen reference"}
PAIR_WEIGHTS = {"weights": "[P], optional: how much each pair counts"}
TOKENS = {
    "logprobs": "[N] of the trained tokens",
    "old": "[N] when the answers were sampled; None: the batch is used once",
}
PER_TOKEN = TOKENS | {"advantages": "[N]"}
PER_ROW = TOKENS | {"advantages": "[B]", "ragged": "which row each token is of"}
MASK = {"mask": "bool [N], optional: tokens that count"}
TERM_INPUTS = {"reference": "[N], with beta", "weights": "[N], optional: the worth of each token"}


def _beta(default: float, does: str = "Strength of the pull towards the reference.") -> dict[str, Option]:
    return {"beta": Option(default, does)}


def _clip(low: float = 0.2, high: float = 0.2) -> dict[str, Option]:
    return {
        "clip_low": Option(low, "A ratio below 1 minus this pays nothing more when the advantage is negative."),
        "clip_high": Option(high, "A ratio above 1 plus this pays nothing more when the advantage is positive."),
    }


def _terms(high: float = 0.2) -> dict[str, Option]:
    return _clip(high=high) | {
        "dual_clip": Option(None, "A negative advantage costs at most this many times itself; above 1, often 3."),
        "beta": Option(0.0, "Weight of the KL to the reference within the loss."),
        "ratio_weighted": Option(True, "Multiply k3 by the ratio, so that its gradient is the KL's."),
    }


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            name="sft",
            title="Likelihood (SFT)",
            module="likelihood",
            equation="-sum w log p / sum w",
            inputs={"logprobs": "[N]", "weights": "[N], optional, not negative"},
            source="maximum likelihood",
            count="trained tokens (their weights)",
        ),
        Objective(
            name="unlikelihood",
            title="Unlikelihood",
            module="likelihood",
            equation="-sum w log(1 - p) / sum w",
            inputs={"logprobs": "[N]", "weights": "[N], optional: 1 at tokens marked bad"},
            source="Welleck et al. 2020",
            count="tokens (their weights)",
        ),
        Objective(
            name="token_classification",
            title="Sentiment and labels of tokens",
            module="classification",
            equation="-sum w y log softmax(s[:3]) + label_weight * mean BCE(s[3:])",
            inputs={"scores": "[N, 3 + labels]", "targets": "[N, 3 + labels], soft"},
            options={
                "class_weights": Option(None, "Weights of bad, neutral and good, against their imbalance."),
                "label_weight": Option(1.0, "Weight of the labels beside the sentiment."),
            },
            source="contracts: span_reward_model",
            count="tokens (their class weights)",
        ),
        Objective(
            name="one_of",
            title="One class of several",
            module="classification",
            equation="-sum w_y log softmax(s)_y / sum w_y",
            inputs={"scores": "[E, C]", "targets": "int64 [E], negative where nobody judged"},
            options={"class_weights": Option(None, "Weights of the classes, against their imbalance.")},
            source="Wu et al. 2023 (Fine-Grained RLHF), segments",
            count="judged examples (their class weights)",
        ),
        Objective(
            name="any_of",
            title="Any number of labels",
            module="classification",
            equation="mean BCE(s, y) over judged labels",
            inputs={"scores": "[E, C]", "targets": "[E, C] in [0, 1]", "judged": "bool [E, C], optional"},
            options={"positive_weights": Option(None, "Weights of each label's positives, against their rarity.")},
            source="binary cross-entropy",
            count="judged labels",
        ),
        Objective(
            name="bradley_terry",
            title="Pairs (Bradley-Terry)",
            module="ranking",
            equation="-log sigmoid(r_w - r_l - margin) + c (r_w + r_l)^2",
            inputs={
                "chosen": "[P] scores",
                "rejected": "[P] scores",
                "preferred": "[P] in [0, 1], optional: 0.5 is a tie",
                "weights": "[P], optional",
            },
            options={
                "margin": Option(0.0, "How far apart the scores should be at least; one number, or one a pair."),
                "centring": Option(0.0, "Keeps the sum of a pair's scores near zero; 0.01 is advised."),
            },
            source="Bradley & Terry 1952; Touvron et al. 2023, eq. 2; Eisenstein et al. 2023",
            count="pairs (their weights)",
        ),
        Objective(
            name="plackett_luce",
            title="Rankings (Plackett-Luce)",
            module="ranking",
            equation="-sum_i log(e^s_i / sum_{j left} e^s_j), ties by Efron",
            inputs={
                "scores": "[N] of all lists' items",
                "ranks": "int64 [N]: 1 is best, equal is tied, 0 not placed",
                "ragged": "which list each item is of",
                "weights": "[B], optional",
            },
            source="Plackett 1975; Xia et al. 2008 (ListMLE); Efron 1977",
            count="lists with a choice (their weights)",
        ),
        Objective(
            name="pointwise",
            title="Single verdicts",
            module="ranking",
            equation="BCE(sigmoid(s), y)",
            inputs={"scores": "[B]", "targets": "[B] in [0, 1]", "weights": "[B], optional"},
            source="binary cross-entropy",
            count="answers (their weights)",
        ),
        Objective(
            name="ordinal",
            title="Ratings in steps",
            module="ranking",
            equation="-log(sigmoid(c_y - s) - sigmoid(c_{y-1} - s))",
            inputs={
                "scores": "[B]",
                "targets": "int64 [B], from 0",
                "thresholds": "[K - 1], increasing",
                "weights": "[B], optional",
            },
            source="McCullagh 1980",
            count="answers (their weights)",
        ),
        Objective(
            name="dpo",
            title="DPO",
            module="preference",
            equation="-log sigmoid(beta d)",
            inputs=WITH_REFERENCE | PAIR_WEIGHTS,
            options=_beta(0.1)
            | {"label_smoothing": Option(0.0, "Share of pairs believed to be the wrong way round (conservative).")},
            source="Rafailov et al. 2023, eq. 7",
            count="pairs (their weights)",
        ),
        Objective(
            name="dpo_hinge",
            title="DPO, hinge",
            module="preference",
            equation="max(0, 1 - beta d)",
            inputs=WITH_REFERENCE | PAIR_WEIGHTS,
            options=_beta(0.1),
            source="Zhao et al. 2023 (SLiC)",
            count="pairs (their weights)",
        ),
        Objective(
            name="dpo_robust",
            title="DPO, robust",
            module="preference",
            equation="(-(1 - e) log sigmoid(beta d) + e log sigmoid(-beta d)) / (1 - 2e)",
            inputs=WITH_REFERENCE | PAIR_WEIGHTS,
            options=_beta(0.1) | {"flipped": Option(0.1, "Share of pairs that are the wrong way round; below 0.5.")},
            source="Chowdhury et al. 2024",
            count="pairs (their weights)",
        ),
        Objective(
            name="dpo_mean",
            title="DPO, per token",
            module="preference",
            equation="-log sigmoid(beta (u / n_w - v / n_l))",
            inputs=WITH_REFERENCE | PAIR_WEIGHTS,
            options=_beta(0.1),
            source="Lambert et al. 2024; TRL sigmoid_norm",
            count="pairs (their weights)",
        ),
        Objective(
            name="apo_zero",
            title="APO-zero",
            module="preference",
            equation="1 - sigmoid(beta u) + sigmoid(beta v)",
            inputs=WITH_REFERENCE | PAIR_WEIGHTS,
            options=_beta(0.1),
            source="D'Oosterlinck et al. 2024",
            count="pairs (their weights)",
        ),
        Objective(
            name="ipo",
            title="IPO",
            module="preference",
            equation="(u / n_w - v / n_l - 1 / (2 beta))^2",
            inputs=WITH_REFERENCE | PAIR_WEIGHTS,
            options=_beta(0.1, "The paper's tau: the margin aimed at is 1 / (2 beta)."),
            source="Azar et al. 2023, eq. 17",
            count="pairs (their weights)",
        ),
        Objective(
            name="kto",
            title="KTO",
            module="preference",
            equation="w_D (1 - sigmoid(beta (u - z))) or w_U (1 - sigmoid(beta (z - v)))",
            inputs={
                "policy": "[B] summed log-probabilities",
                "reference": "[B]",
                "desirable": "bool [B]",
                "zero_point": "number: kto_zero_point of the whole step",
            },
            options=_beta(0.1)
            | {
                "desirable_weight": Option(1.0, "Weight of good answers; with many bad ones above 1."),
                "undesirable_weight": Option(1.0, "Weight of bad answers; with many good ones above 1."),
            },
            source="Ethayarajh et al. 2024",
            count="answers",
        ),
        Objective(
            name="orpo",
            title="ORPO",
            module="preference",
            equation="NLL(chosen) - beta log sigmoid(log odds_w - log odds_l)",
            inputs=PAIRS | {"nll": "[P], optional: another likelihood term"} | PAIR_WEIGHTS,
            options=_beta(0.1, "Weight of the odds ratio beside the likelihood; the paper's lambda."),
            source="Hong et al. 2024, eq. 6-7",
            count="pairs (their weights)",
        ),
        Objective(
            name="simpo",
            title="SimPO",
            module="preference",
            equation="-log sigmoid(beta (M_w - M_l) - gamma)",
            inputs=PAIRS | PAIR_WEIGHTS,
            options=_beta(2.0, "Scale of a token's mean log-probability as a reward.")
            | {"gamma": Option(1.0, "Margin that the rewards should be apart; 0.3 to 0.5 of beta.")},
            source="Meng et al. 2024, eq. 6",
            count="pairs (their weights)",
        ),
        Objective(
            name="ppo",
            title="PPO, clipped",
            module="policy_gradient",
            equation="max(-A rho, -A clip(rho)) [+ beta k3 rho]",
            inputs=PER_TOKEN | TERM_INPUTS | MASK,
            options=_terms(),
            source="Schulman et al. 2017, eq. 7",
            count="tokens of the whole step",
        ),
        Objective(
            name="grpo",
            title="GRPO",
            module="policy_gradient",
            equation="mean_i (1 / n_i) sum_t [max(-A rho, -A clip(rho)) + beta k3 rho]",
            inputs=PER_TOKEN | {"ragged": PER_ROW["ragged"]} | TERM_INPUTS | MASK,
            options=_terms(),
            source="Shao et al. 2024, eq. 3",
            count="answers",
        ),
        Objective(
            name="dr_grpo",
            title="Dr. GRPO",
            module="policy_gradient",
            equation="sum [max(-A rho, -A clip(rho)) + beta k3 rho] / (answers * length)",
            inputs=PER_TOKEN | {"ragged": PER_ROW["ragged"], "length": "number: a constant"} | TERM_INPUTS | MASK,
            options=_terms(),
            source="Liu et al. 2025",
            count="answers times a constant length",
        ),
        Objective(
            name="dapo",
            title="DAPO",
            module="policy_gradient",
            equation="sum max(-A rho, -A clip(rho, 0.8, 1.28)) / tokens",
            inputs=PER_TOKEN | TERM_INPUTS | MASK,
            options=_terms(high=0.28),
            source="Yu et al. 2025, eq. 8 and 10",
            count="tokens of the whole step",
        ),
        Objective(
            name="gspo",
            title="GSPO",
            module="policy_gradient",
            equation="max(-A s, -A clip(s)), s = exp(mean_t log rho)",
            inputs=PER_ROW | MASK,
            options=_clip(3e-4, 4e-4),
            source="Zheng et al. 2025, eq. 5-7",
            count="answers",
        ),
        Objective(
            name="rloo",
            title="RLOO",
            module="policy_gradient",
            equation="max(-A s, -A clip(s)), s = exp(sum_t log rho)",
            inputs=PER_ROW | MASK,
            options=_clip(),
            source="Ahmadian et al. 2024; clip as in TRL",
            count="answers",
        ),
        Objective(
            name="reinforce",
            title="REINFORCE",
            module="policy_gradient",
            equation="-mean_i sum_t A log p",
            inputs={"logprobs": "[N]", "advantages": "[N]", "ragged": PER_ROW["ragged"]} | MASK,
            source="Williams 1992",
            count="answers",
        ),
        Objective(
            name="critique_grpo",
            title="Critique-GRPO",
            module="refinement",
            equation="-sum A w / (answers * length), w = p / (p + gamma) on refinements, else rho",
            inputs=PER_TOKEN
            | {
                "refined": "bool [B]: rows that are refinements",
                "ragged": PER_ROW["ragged"],
                "length": "number: the longest answer allowed",
                "reference": "[N], with beta",
                "entropy": "[N], optional: of the next-token distributions, with its gradient",
            }
            | MASK,
            options={
                "shaping": Option("ratio", "What a refinement's token weighs: ratio p / (p + gamma), prob p, none 1."),
                "gamma": Option(0.1, "The probability whose tokens weigh most."),
                "clip": Option(None, "Clip the other rows' ratios as PPO does; None as in the paper."),
                "beta": Option(0.0, "Weight of the KL to the reference on the other rows."),
                "entropy_weight": Option(0.001, "Weight of the mean entropy, as a bonus."),
                "exchange": Option(1.0, "The whole step's answers * length over its tokens."),
            },
            source="Zhang et al. 2025 (arXiv 2506.03106)",
            count="answers times a constant length",
        ),
        Objective(
            name="antisymmetric",
            title="Two answers at once",
            module="pairwise",
            equation="BCE(sigmoid((z(a, b) - z(b, a)) / 2), y)",
            inputs={
                "forwards": "[P] z(a, b)",
                "backwards": "[P] z(b, a)",
                "preferred": "[P] or number: the probability that a is better, 0.5 for a tie",
                "weights": "[P], optional",
            },
            source="pairwise preference model for SPO (Swamy et al. 2024)",
            count="pairs (their weights)",
        ),
        Objective(
            name="nft",
            title="NFT",
            module="nft",
            equation="w(q) [r (-log R) + (1 - r) (-log max_v((1 - q R) / (1 - q), epsilon))] / (answers * length)",
            inputs=TOKENS
            | {
                "right": "[B] in [0, 1]: 1 for a right answer",
                "rate": "[B]: the share of right answers to its prompt",
                "ragged": PER_ROW["ragged"],
                "length": "number: a constant",
            }
            | MASK,
            options={
                "weighting": Option("hard", "Weight of a prompt: hard is 1 - q, root sqrt((1 - q) / q), even 1."),
                "negative_weight": Option(1.0, "Weight of wrong answers; 0 is rejection fine-tuning."),
                "positive_weight": Option(1.0, "Weight of right answers; 0 learns from mistakes alone."),
                "epsilon": Option(1.0, "The least that the wrong answers' ratio counts as; lower punishes harder."),
                "by_answer": Option(False, "One ratio an answer, the product over its tokens, instead of one a token."),
            },
            source="Chen et al. 2025 (arXiv 2505.18116)",
            count="answers times a constant length",
        ),
        Objective(
            name="value_loss",
            title="Value loss, clipped",
            module="value",
            equation="0.5 max((V - R)^2, (clip(V) - R)^2)",
            inputs={"values": "[N]", "old_values": "[N]", "returns": "[N]"} | MASK,
            options={"clip": Option(0.2, "How far a value may move from its old one before the worse error counts.")},
            source="Schulman et al. 2017; Huang et al. 2022, detail 9",
            count="tokens of the whole step",
        ),
    )
}
