"""Preferences and taps straight to a policy: DPO and its kin, IPO, KTO, ORPO, SimPO.

u and v are the log-ratios log p - log p_ref of the chosen and the rejected answer, d = u - v. The reference is never
differentiated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from training.engine.objectives.likelihood import log1mexp
from training.engine.objectives.loss import Loss
from training.engine.ragged import Ragged


@dataclass(frozen=True)
class PairLogprobs:
    """Summed log-probabilities of the completions of P pairs, and how many tokens each sum is over. All [P]."""

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @classmethod
    def of(cls, logprobs: Tensor, ragged: Ragged, *, chosen: Tensor, rejected: Tensor) -> PairLogprobs:
        """From per-token log-probabilities [N]: `chosen` and `rejected` are the rows of each pair, int64 [P]."""
        sums, lengths = ragged.sum(logprobs), ragged.lengths()
        return cls(sums[chosen], sums[rejected], lengths[chosen], lengths[rejected])

    @property
    def chosen_mean(self) -> Tensor:
        """A token's mean [P]; 0 for an empty answer."""
        return self.chosen / self.chosen_tokens.clamp_min(1)

    @property
    def rejected_mean(self) -> Tensor:
        """A token's mean [P]; 0 for an empty answer."""
        return self.rejected / self.rejected_tokens.clamp_min(1)


def dpo(
    policy: PairLogprobs,
    reference: PairLogprobs,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Loss:
    """-log sigmoid(beta d) (Rafailov et al. 2023, eq. 7). Counts pairs (their weights).

    `label_smoothing` is the share of pairs believed to be the wrong way round (conservative DPO: it pulls the margin
    towards a finite one; `dpo_robust` instead takes the noise out of the expectation).
    """
    u, v = _log_ratios(policy, reference)
    logit = beta * (u - v)
    values = -(1 - label_smoothing) * F.logsigmoid(logit) - label_smoothing * F.logsigmoid(-logit)
    return Loss.of_examples(values, weights=weights, **_metrics(policy, beta * u, beta * v))


def dpo_hinge(
    policy: PairLogprobs, reference: PairLogprobs, *, beta: float = 0.1, weights: Tensor | None = None
) -> Loss:
    """max(0, 1 - beta d) (SLiC, Zhao et al. 2023, on DPO's rewards). Counts pairs (their weights)."""
    u, v = _log_ratios(policy, reference)
    return Loss.of_examples(F.relu(1 - beta * (u - v)), weights=weights, **_metrics(policy, beta * u, beta * v))


def dpo_robust(
    policy: PairLogprobs,
    reference: PairLogprobs,
    *,
    beta: float = 0.1,
    flipped: float = 0.1,
    weights: Tensor | None = None,
) -> Loss:
    """(-(1 - e) log sigmoid(beta d) + e log sigmoid(-beta d)) / (1 - 2e): unbiased when a share e = `flipped` of the
    pairs, below one half, is the wrong way round (Chowdhury et al. 2024). Counts pairs (their weights).
    """
    u, v = _log_ratios(policy, reference)
    logit = beta * (u - v)
    values = (-(1 - flipped) * F.logsigmoid(logit) + flipped * F.logsigmoid(-logit)) / (1 - 2 * flipped)
    return Loss.of_examples(values, weights=weights, **_metrics(policy, beta * u, beta * v))


def dpo_mean(
    policy: PairLogprobs, reference: PairLogprobs, *, beta: float = 0.1, weights: Tensor | None = None
) -> Loss:
    """-log sigmoid(beta (u / n_w - v / n_l)): DPO on a token's mean, so that length pays nothing (Lambert et al. 2024;
    TRL: sigmoid_norm). Counts pairs (their weights).
    """
    u, v = _mean_log_ratios(policy, reference)
    return Loss.of_examples(-F.logsigmoid(beta * (u - v)), weights=weights, **_metrics(policy, beta * u, beta * v))


def apo_zero(
    policy: PairLogprobs, reference: PairLogprobs, *, beta: float = 0.1, weights: Tensor | None = None
) -> Loss:
    """1 - sigmoid(beta u) + sigmoid(beta v): the chosen up and the rejected down, each on its own (D'Oosterlinck et al.
    2024, APO-zero). Counts pairs (their weights).
    """
    u, v = _log_ratios(policy, reference)
    values = torch.sigmoid(-beta * u) + torch.sigmoid(beta * v)
    return Loss.of_examples(values, weights=weights, **_metrics(policy, beta * u, beta * v))


def ipo(policy: PairLogprobs, reference: PairLogprobs, *, beta: float = 0.1, weights: Tensor | None = None) -> Loss:
    """(u / n_w - v / n_l - 1 / (2 beta))^2 (Azar et al. 2023, eq. 17, tau = beta). Counts pairs (their weights).

    On a token's mean, as its authors confirmed for TRL: on sums the target margin would depend on length.
    """
    u, v = _mean_log_ratios(policy, reference)
    values = (u - v - 1 / (2 * beta)).square()
    return Loss.of_examples(values, weights=weights, **_metrics(policy, beta * u, beta * v))


def kto(
    policy: Tensor,
    reference: Tensor,
    desirable: Tensor,
    *,
    zero_point: Tensor | float,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Loss:
    """w_D (1 - sigmoid(beta (u - z))) for good answers, w_U (1 - sigmoid(beta (z - v))) for bad ones (Ethayarajh et al.
    2024). Counts answers.

    `policy`, `reference` [B] are summed log-probabilities, `desirable` bool [B]. `zero_point` is `kto_zero_point` of
    the whole step, not of a micro-batch.
    """
    ratio = policy - reference.detach()
    z = torch.as_tensor(zero_point, dtype=ratio.dtype, device=ratio.device).detach()
    good = desirable_weight * torch.sigmoid(-beta * (ratio - z))
    bad = undesirable_weight * torch.sigmoid(-beta * (z - ratio))
    share = desirable.to(ratio.dtype)
    return Loss.of_examples(
        torch.where(desirable, good, bad),
        **{
            "desirable": share,
            "rewards/desirable": beta * ratio * share,  # over all rows: divide by the share of desirable ones
            "rewards/undesirable": beta * ratio * (1 - share),
        },
    )


def kto_zero_point(policy: Tensor, reference: Tensor) -> Tensor:
    """z = max(0, mean_i log p(y_{i-1} | x_i) - log p_ref(y_{i-1} | x_i)) over the whole step: how far the policy has
    gone on answers that do not belong to the prompt. Summed log-probabilities of `mismatched` rows [B], without grad.
    """
    return (policy - reference).detach().mean().clamp_min(0)


def mismatched(rows: int) -> list[int]:
    """Whose answer each prompt is paired with for KTO's zero point: its neighbour's, around the end."""
    if rows < 2:
        raise ValueError(
            "KTO's zero point needs two answers or more: one prompt has no other's answer to be read with."
        )
    return [(row - 1) % rows for row in range(rows)]


def orpo(policy: PairLogprobs, *, beta: float = 0.1, nll: Tensor | None = None, weights: Tensor | None = None) -> Loss:
    """NLL(chosen) - beta log sigmoid(log odds_w - log odds_l), odds of a token's mean (Hong et al. 2024, eq. 6-7). No
    reference. Counts pairs (their weights).

    `nll` [P] replaces the chosen answer's own mean over tokens, the paper's. TRL's covers prompt and answer and is a
    mean over the step's tokens: give each pair's sum over the step's mean tokens a pair.
    """
    likelihood = -policy.chosen_mean if nll is None else nll
    return Loss.of_examples(likelihood, weights=weights, nll=likelihood).plus(
        odds_ratio(policy, weights=weights), weight=beta
    )


def odds_ratio(policy: PairLogprobs, *, weights: Tensor | None = None) -> Loss:
    """-log sigmoid((M_w - M_l) - (log(1 - e^M_w) - log(1 - e^M_l))), M a token's mean (Hong et al. 2024, eq. 7)."""
    won, lost = policy.chosen_mean, policy.rejected_mean
    log_odds = (won - lost) - (log1mexp(won) - log1mexp(lost))
    return Loss.of_examples(-F.logsigmoid(log_odds), weights=weights, log_odds=log_odds, **_metrics(policy, won, lost))


def simpo(policy: PairLogprobs, *, beta: float = 2.0, gamma: float = 1.0, weights: Tensor | None = None) -> Loss:
    """-log sigmoid(beta (M_w - M_l) - gamma), M a token's mean (Meng et al. 2024, eq. 6). No reference, no likelihood
    term. Counts pairs (their weights).
    """
    won, lost = beta * policy.chosen_mean, beta * policy.rejected_mean
    return Loss.of_examples(-F.logsigmoid(won - lost - gamma), weights=weights, **_metrics(policy, won, lost))


def _log_ratios(policy: PairLogprobs, reference: PairLogprobs) -> tuple[Tensor, Tensor]:
    return policy.chosen - reference.chosen.detach(), policy.rejected - reference.rejected.detach()


def _mean_log_ratios(policy: PairLogprobs, reference: PairLogprobs) -> tuple[Tensor, Tensor]:
    return (
        policy.chosen_mean - reference.chosen_mean.detach(),
        policy.rejected_mean - reference.rejected_mean.detach(),
    )


def _metrics(policy: PairLogprobs, chosen: Tensor, rejected: Tensor) -> Mapping[str, Tensor]:
    """What every pair objective reports: implied rewards, their margin, and whether both log-probs sink together."""
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margin": chosen - rejected,
        "rewards/accuracy": chosen > rejected,
        "logps/chosen": policy.chosen,
        "logps/rejected": policy.rejected,
    }
