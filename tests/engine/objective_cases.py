"""Every objective over a few units (answers, pairs, lists) that can be split in any way, from parameters shared by all.

A unit's log-probabilities and scores come from a small linear model, so that a gradient has somewhere to go. What an
objective is given besides (advantages, old log-probabilities, targets) is part of the unit: made for the whole batch,
before it is split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.engine import objectives
from training.engine.objectives import Loss, PairLogprobs
from training.engine.ragged import Ragged

WIDTH = 6
double = torch.float64


@dataclass(frozen=True)
class Answer:
    """An answer's tokens as features [n, WIDTH], and what is known of each of them."""

    features: Tensor
    old: Tensor
    reference: Tensor
    advantages: Tensor
    worth: Tensor
    mask: Tensor
    verdict: float  # in [0, 1]; also its advantage as a whole, its rank and its class


@dataclass(frozen=True)
class Batch:
    """Some answers (an even number: pairs are neighbours; lists are runs of unequal length) and the parameters."""

    answers: Sequence[Answer]
    parameters: Tensor

    @property
    def ragged(self) -> Ragged:
        return Ragged.of_lengths([len(answer.features) for answer in self.answers])

    def of_tokens(self, name: str) -> Tensor:
        return torch.cat([getattr(answer, name) for answer in self.answers])

    @property
    def logprobs(self) -> Tensor:
        return torch.nn.functional.logsigmoid(self.of_tokens("features") @ self.parameters)

    @property
    def scores(self) -> Tensor:
        return self.ragged.mean(self.of_tokens("features") @ self.parameters)

    @property
    def verdicts(self) -> Tensor:
        return torch.tensor([answer.verdict for answer in self.answers], dtype=double)

    def pairs(self, logprobs: Tensor) -> PairLogprobs:
        first = torch.arange(0, len(self.answers), 2)
        return PairLogprobs.of(logprobs, self.ragged, chosen=first, rejected=first + 1)


def answers(number: int, *, seed: int) -> list[Answer]:
    """Different lengths, one of them 1; some tokens masked, one answer wholly."""
    made = torch.Generator().manual_seed(seed)
    found = []
    for index in range(number):
        length = 1 if index == 1 else int(torch.randint(2, 6, (1,), generator=made))
        mask = torch.rand(length, generator=made) > 0.3
        found.append(
            Answer(
                features=torch.randn(length, WIDTH, generator=made, dtype=double),
                old=-torch.rand(length, generator=made, dtype=double),
                reference=-torch.rand(length, generator=made, dtype=double),
                advantages=torch.randn(length, generator=made, dtype=double),
                worth=torch.rand(length, generator=made, dtype=double) + 0.5,
                mask=torch.zeros_like(mask) if index == 3 else mask,
                verdict=float(torch.rand(1, generator=made, dtype=double)),
            )
        )
    return found


def parameters(seed: int = 0) -> Tensor:
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed), dtype=double).requires_grad_()


def _pairwise(name: str, **options: object) -> Callable[[Batch], Loss]:
    def loss(batch: Batch) -> Loss:
        policy, reference = batch.pairs(batch.logprobs), batch.pairs(batch.of_tokens("reference"))
        weights = batch.verdicts[::2]
        return getattr(objectives, name)(policy, reference, weights=weights, **options)

    return loss


def _without_reference(name: str) -> Callable[[Batch], Loss]:
    return lambda batch: getattr(objectives, name)(batch.pairs(batch.logprobs), weights=batch.verdicts[::2])


def _per_token(name: str, *, rows: bool, **options: object) -> Callable[[Batch], Loss]:
    def loss(batch: Batch) -> Loss:
        layout = (batch.ragged,) if rows else ()
        return getattr(objectives, name)(
            batch.logprobs,
            batch.of_tokens("old"),
            batch.of_tokens("advantages"),
            *layout,
            mask=batch.of_tokens("mask"),
            beta=0.3,
            reference=batch.of_tokens("reference"),
            dual_clip=3.0,
            weights=batch.of_tokens("worth"),
            **options,
        )

    return loss


def _per_row(name: str) -> Callable[[Batch], Loss]:
    return lambda batch: getattr(objectives, name)(
        batch.logprobs, batch.of_tokens("old"), batch.verdicts - 0.5, batch.ragged, mask=batch.of_tokens("mask")
    )


def _critique_grpo(batch: Batch) -> Loss:
    return objectives.critique_grpo(
        batch.logprobs,
        batch.of_tokens("old"),
        batch.of_tokens("advantages"),
        batch.verdicts > 0.5,
        batch.ragged,
        length=16,
        clip=0.2,
        beta=0.3,
        reference=batch.of_tokens("reference"),
        entropy_weight=0.01,
        entropy=batch.logprobs.neg() * batch.of_tokens("worth"),
        exchange=3.0,
        mask=batch.of_tokens("mask"),
    )


def _columns(batch: Batch, outputs: int) -> Tensor:
    """Scores [N, outputs], each column its own function of the parameters."""
    return torch.stack([batch.of_tokens("features").roll(k, -1) @ batch.parameters for k in range(outputs)], dim=-1)


def _token_classification(batch: Batch) -> Loss:
    scores = _columns(batch, 5)
    targets = torch.stack([batch.of_tokens("features")[:, k].sigmoid() for k in range(5)], dim=-1)
    return objectives.token_classification(scores, targets, class_weights=[2.0, 0.5, 1.0])


def _one_of(batch: Batch) -> Loss:
    targets = (batch.of_tokens("old").neg() * 4).long() - 1  # -1..2
    return objectives.one_of(_columns(batch, 3), targets, class_weights=[1.0, 2.0, 0.5])


def _any_of(batch: Batch) -> Loss:
    targets = batch.of_tokens("features")[:, :3].sigmoid()
    judged = batch.of_tokens("features")[:, 3:] > 0
    return objectives.any_of(_columns(batch, 3), targets, judged=judged, positive_weights=[1.0, 2.0, 3.0])


def _plackett_luce(batch: Batch) -> Loss:
    """Every answer's tokens are the items of a list."""
    ranks = (batch.of_tokens("old").neg() * 4).long()  # 0..3: some not placed, some tied
    return objectives.plackett_luce(
        batch.of_tokens("features") @ batch.parameters, ranks, batch.ragged, weights=batch.verdicts
    )


def _ordinal(batch: Batch) -> Loss:
    thresholds = objectives.ordered(batch.parameters[:3])
    return objectives.ordinal(batch.scores, (batch.verdicts * 4).long(), thresholds)


CASES: dict[str, Callable[[Batch], Loss]] = {
    "sft": lambda batch: objectives.sft(batch.logprobs, weights=batch.of_tokens("mask")),
    "unlikelihood": lambda batch: objectives.unlikelihood(batch.logprobs, weights=batch.of_tokens("mask")),
    "token_classification": _token_classification,
    "one_of": _one_of,
    "any_of": _any_of,
    "bradley_terry": lambda batch: objectives.bradley_terry(
        batch.scores[::2], batch.scores[1::2], margin=batch.verdicts[::2], centring=0.1, preferred=batch.verdicts[1::2]
    ),
    "plackett_luce": _plackett_luce,
    "pointwise": lambda batch: objectives.pointwise(batch.scores, batch.verdicts),
    "ordinal": _ordinal,
    "dpo": _pairwise("dpo", label_smoothing=0.1),
    "dpo_hinge": _pairwise("dpo_hinge"),
    "dpo_robust": _pairwise("dpo_robust", flipped=0.2),
    "dpo_mean": _pairwise("dpo_mean"),
    "apo_zero": _pairwise("apo_zero"),
    "ipo": _pairwise("ipo"),
    "kto": lambda batch: objectives.kto(
        batch.ragged.sum(batch.logprobs),
        batch.ragged.sum(batch.of_tokens("reference")),
        batch.verdicts > 0.5,
        zero_point=0.2,
        undesirable_weight=1.5,
    ),
    "orpo": _without_reference("orpo"),
    "simpo": _without_reference("simpo"),
    "ppo": _per_token("ppo", rows=False),
    "grpo": _per_token("grpo", rows=True),
    "dr_grpo": _per_token("dr_grpo", rows=True, length=16),
    "dapo": _per_token("dapo", rows=False),
    "gspo": _per_row("gspo"),
    "rloo": _per_row("rloo"),
    "reinforce": lambda batch: objectives.reinforce(
        batch.logprobs, batch.of_tokens("advantages"), batch.ragged, mask=batch.of_tokens("mask")
    ),
    "critique_grpo": _critique_grpo,
    "antisymmetric": lambda batch: objectives.antisymmetric(
        batch.scores[::2], batch.scores[1::2], batch.verdicts[::2], weights=batch.verdicts[1::2]
    ),
    "nft": lambda batch: objectives.nft(
        batch.logprobs,
        batch.of_tokens("old"),
        batch.verdicts,
        (1 - batch.verdicts).clamp(0.1, 0.9),
        batch.ragged,
        length=16,
        weighting="root",
        epsilon=0.5,
        mask=batch.of_tokens("mask"),
    ),
    "value_loss": lambda batch: objectives.value_loss(
        batch.of_tokens("features") @ batch.parameters,
        batch.of_tokens("old"),
        batch.of_tokens("advantages"),
        mask=batch.of_tokens("mask"),
    ),
}
