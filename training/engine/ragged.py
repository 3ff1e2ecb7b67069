"""Rows of unequal length as flat tensors: no padding, so no function can average over it.

The legend of the engine's flat tensors. A tensor [N] has one entry for each trained (or scored) token of all rows:
first row first, first token first; prompts, and what an environment said, are not in it. `Ragged` says which row each
entry is of. A tensor [B] has one entry for each row. Turns of an episode or items of a list are laid out the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """B rows of N tokens in all. A pack gives it as `Ragged(pack.row_of, len(pack.rows))`."""

    row_of: Tensor  # int64 [N], never decreasing
    rows: int  # B; a row may be empty

    @classmethod
    def of_lengths(cls, lengths: Sequence[int], *, device: torch.device | str = "cpu") -> Ragged:
        """Rows of these lengths."""
        counts = torch.tensor(lengths, dtype=torch.int64, device=device)
        return cls(torch.arange(len(lengths), device=device).repeat_interleave(counts), len(lengths))

    def sum(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N] -> [B]: of each row's tokens where `mask` holds; 0 for a row that has none."""
        live = values if mask is None else torch.where(mask, values, 0)
        return torch.zeros(self.rows, dtype=values.dtype, device=values.device).index_add(0, self.row_of, live)

    def lengths(self, mask: Tensor | None = None) -> Tensor:
        """float32 [B]: how many tokens each row has where `mask` holds."""
        ones = torch.ones(len(self.row_of), dtype=torch.float32, device=self.row_of.device)
        return self.sum(ones, mask)

    def mean(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N] -> [B]: of each row's tokens where `mask` holds; 0 for a row that has none."""
        return self.sum(values, mask) / self.lengths(mask).clamp_min(1)

    def spread(self, by_row: Tensor) -> Tensor:
        """[B] -> [N]: every token gets its row's entry."""
        return by_row.index_select(0, self.row_of)

    @property
    def starts(self) -> Tensor:
        """int64 [B]: the flat place of each row's first token (of an empty row: where it would stand)."""
        return torch.searchsorted(self.row_of, torch.arange(self.rows, device=self.row_of.device))

    @property
    def columns(self) -> Tensor:
        """int64 [N]: the place of each token in its row, from 0."""
        return torch.arange(len(self.row_of), device=self.row_of.device) - self.spread(self.starts)

    def padded(self, values: Tensor, *, fill: float = 0.0) -> Tensor:
        """[N] -> [B, longest], for what must run over time in step; `flat` is the way back."""
        columns = self.columns
        longest = int(columns.max()) + 1 if len(columns) else 0
        table = torch.full((self.rows, longest), fill, dtype=values.dtype, device=values.device)
        return table.index_put((self.row_of, columns), values)

    def flat(self, table: Tensor) -> Tensor:
        """[B, longest] -> [N]."""
        return table[self.row_of, self.columns]


@dataclass(frozen=True)
class Spans:
    """S parts of rows in token space: marked phrases, segments, steps or turns. `end` is exclusive, within the row."""

    row: Tensor  # int64 [S]
    start: Tensor  # int64 [S]
    end: Tensor  # int64 [S]; at or before `start` when the part holds no token

    @classmethod
    def of(cls, spans: Sequence[tuple[int, int, int]], *, device: torch.device | str = "cpu") -> Spans:
        """From (row, start, end)."""
        table = torch.tensor(spans, dtype=torch.int64, device=device).reshape(-1, 3)
        return cls(table[:, 0], table[:, 1], table[:, 2])

    @property
    def lengths(self) -> Tensor:
        """int64 [S]: tokens in each."""
        return (self.end - self.start).clamp_min(0)

    def places(self, ragged: Ragged) -> tuple[Tensor, Tensor]:
        """Flat places of all tokens of all spans, span by span, and the span that each is of: two int64 [M]."""
        lengths = self.lengths
        of_span = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
        within = torch.arange(len(of_span), device=lengths.device) - (lengths.cumsum(0) - lengths)[of_span]
        return (ragged.starts[self.row] + self.start)[of_span] + within, of_span

    def spread(self, values: Tensor, ragged: Ragged, *, share: bool = False) -> Tensor:
        """[S] -> [N]: every token of a span gets its entry, or an equal part of it with `share`; overlaps add up,
        tokens outside get 0.
        """
        places, of_span = self.places(ragged)
        entries = values / self.lengths.clamp_min(1) if share else values
        zeros = torch.zeros(len(ragged.row_of), dtype=entries.dtype, device=values.device)
        return zeros.index_add(0, places, entries[of_span])
