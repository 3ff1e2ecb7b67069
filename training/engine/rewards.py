"""Rewards: where they stand on the tokens, and how several are mixed.

[B] is one number a row, [N] one a token (see `ragged`), [S] one a span, segment, step or turn. NaN is "no verdict": it
is never read as zero; a row without verdict leaves the batch (`judged`). A reward for every token of a span is
`Spans.spread`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.engine.credit import Moments
from training.engine.ragged import Ragged, Spans


def judged(rewards: Tensor) -> Tensor:
    """Where there is a verdict, bool; `ragged.spread(judged(rewards))` is the mask of the tokens."""
    return ~rewards.isnan()


def on_last_token(rewards: Tensor, ragged: Ragged) -> Tensor:
    """[B] -> [N]: each row's reward on its last token, the stop token itself when it has one; zero elsewhere.

    A row without tokens has no place for it, and nothing of it can be trained.
    """
    rows = torch.arange(ragged.rows, device=rewards.device)
    last = ragged.lengths().long() - 1
    return on_ends(rewards, Spans(rows, last, last + 1), ragged)


def on_ends(rewards: Tensor, spans: Spans, ragged: Ragged, *, mean: bool = False) -> Tensor:
    """[S] -> [N]: each span's reward on its last token; those that meet add up (Fine-Grained RLHF, Wu et al. 2023).

    A span that reaches past its row pays on the row's last token. `mean` divides each row's rewards by how many spans
    it has, so that cutting an answer in more pieces pays nothing.
    """
    if mean:
        of_row = torch.zeros(ragged.rows, dtype=rewards.dtype, device=rewards.device)
        of_row = of_row.index_add(0, spans.row, torch.ones_like(rewards))
        rewards = rewards / of_row[spans.row]
    lengths = ragged.lengths().long()[spans.row]
    place = ragged.starts[spans.row] + torch.minimum(spans.end, lengths).sub(1).clamp_min(0)
    there = lengths > 0
    zeros = torch.zeros(len(ragged.row_of), dtype=rewards.dtype, device=rewards.device)
    return zeros.index_add(0, place[there], rewards[there])


@dataclass(frozen=True)
class Part:
    """One reward of a mix: weight * ((value - mean) / std + bias).

    `mean` and `std` are fixed numbers that belong to the reward model (measured on its training pairs), not the
    batch's: a batch that is bad throughout must look bad. `whitened` gives a part measured on the batch itself.
    """

    values: Tensor  # [B] or [N], NaN for "no verdict"
    weight: float = 1.0
    mean: float | Tensor = 0.0
    std: float | Tensor = 1.0
    bias: float = 0.0

    @property
    def weighed(self) -> Tensor:
        """What it adds to the sum."""
        return self.weight * ((self.values - self.mean) / self.std + self.bias)

    @classmethod
    def whitened(cls, values: Tensor, *, weight: float = 1.0) -> Part:
        """Mean 0 and standard deviation 1 over the batch's verdicts; 0 throughout when they are all equal."""
        moments = Moments.of(values[judged(values)])
        std = moments.variance().sqrt().to(values.dtype)
        return cls(values, weight=weight, mean=moments.mean.to(values.dtype), std=torch.where(std > 0, std, 1.0))


@dataclass(frozen=True)
class Mix:
    """A weighted sum with every part kept, for charts and for the question which of them paid."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # weighed, they add up to `total`


def mix(parts: Mapping[str, Part]) -> Mix:
    """The sum of the parts, all [B] or all [N]. A missing verdict in one part is a missing verdict of the whole."""
    if not parts:
        raise ValueError("A mix needs at least one reward.")
    weighed = {name: part.weighed for name, part in parts.items()}
    shapes = {name: tuple(value.shape) for name, value in weighed.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"Rewards of different shapes cannot be added: {shapes}. Place them on tokens first.")
    return Mix(torch.stack(list(weighed.values())).sum(0), weighed)


def spread_of(scores: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation of a reward model's scores, as its artifact holds them for later mixes."""
    values = torch.tensor(list(scores), dtype=torch.float64)
    return {"mean": values.mean().item(), "std": values.std(correction=0).item()} if len(values) else {}


def length_damping(rewards: Tensor, ragged: Ragged, *, target: int = 48, slack: int = 6) -> Tensor:
    """[N] -> [N]: rewards times 1 / (1 + exp(clip(l - target - slack, -10, 6))), l = 1, 2, ... from the first token of
    the row that has a reward (Text2Grad, summaries only): saying more stops paying.
    """
    columns = ragged.columns
    scored = rewards != 0
    none = torch.iinfo(torch.int64).max
    first = torch.full((ragged.rows,), none, dtype=torch.int64, device=rewards.device).scatter_reduce(
        0, ragged.row_of, torch.where(scored, columns, none), reduce="amin"
    )
    count = columns - torch.minimum(ragged.spread(first), columns) + 1
    return rewards * torch.sigmoid(-(count - target - slack).to(rewards.dtype).clamp(-10, 6))


def overlong_penalty(lengths: Tensor, *, longest: int, cache: int) -> Tensor:
    """[B] -> [B]: 0 up to longest - cache tokens, then down in a line to -1 at `longest`, -1 beyond (DAPO, Yu et al.
    2025, eq. 13).
    """
    return ((longest - cache - lengths.float()) / cache).clamp(-1.0, 0.0)


def missing_stop_penalty(rewards: Tensor, finished: Sequence[bool] | Tensor, *, penalty: float) -> Tensor:
    """[B] -> [B]: `penalty` less for answers that were cut off before they ended."""
    ended = torch.as_tensor(finished, dtype=torch.bool, device=rewards.device)
    return rewards - penalty * (~ended).to(rewards.dtype)
