"""Rows of tokens laid out for one forward pass.

Everything that computes on rows speaks of *trained tokens*, one flat list of N over the whole pack, with the row of
each: no caller sees padding. So the layout can become a forest that computes shared prompts once without changing any
of them; today a pack is a right-padded rectangle, and a causal model never looks at what stands to the right of a
token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.engine.ragged import Ragged

FILLED = 0.75  # a row this much shorter than its pack's longest starts a new pack: padding costs as much as tokens


@dataclass(frozen=True)
class Row:
    """One sequence; `trained[i]` says whether token i is learned (or scored). `name` is the record's, for messages."""

    name: str
    ids: Sequence[int]
    trained: Sequence[bool]
    weights: Sequence[float] | None = None  # of the trained tokens, where an objective wants them
    targets: Sequence[Sequence[float]] | None = None  # of the trained tokens, for token classification
    segments: Sequence[int] | None = None  # of the trained tokens: which sentence of the row each is in

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.trained):
            raise ValueError(f"{self.name}: {len(self.ids)} tokens but a mask of {len(self.trained)}.")


class TooLong(ValueError):
    """A row is longer than the budget of a whole pack; the message names it."""


@dataclass(frozen=True)
class Pack:
    """B rows of at most T tokens, N of them trained. Flat tensors are in row order, then token order."""

    rows: Sequence[Row]
    ids: Tensor  # int64 [B, T]
    positions: Tensor  # int64 [B, T]
    row_of: Tensor = field(repr=False)  # int64 [N]: the row of each trained token
    place_of: Tensor = field(repr=False)  # int64 [N]: its place in the flattened [B * T]
    token_ids: Tensor = field(repr=False)  # int64 [N]: the trained tokens themselves

    @property
    def before(self) -> Tensor:
        """int64 [N]: the place whose hidden state predicts each trained token."""
        return self.place_of - 1

    @property
    def last(self) -> Tensor:
        """int64 [B]: the place of each row's last token."""
        width = self.ids.shape[1]
        places = [index * width + len(row.ids) - 1 for index, row in enumerate(self.rows)]
        return torch.tensor(places, dtype=torch.int64, device=self.ids.device)

    @property
    def ragged(self) -> Ragged:
        """Which row each trained token is of."""
        return Ragged(self.row_of, len(self.rows))

    def flat(self, name: str) -> Tensor:
        """A per-token field of the rows (`weights`, `targets`) as one float32 tensor [N] or [N, C]."""
        values: list[object] = []
        for row in self.rows:
            of_row = getattr(row, name)
            if of_row is None or len(of_row) != sum(row.trained):
                raise ValueError(f"{row.name}: {name} must be given for each of its {sum(row.trained)} trained tokens.")
            values.extend(of_row)
        return torch.tensor(values, dtype=torch.float32, device=self.ids.device)

    def segments(self) -> Tensor:
        """int64 [N]: the segment of each trained token, numbered from 0 over the whole pack."""
        own = self.flat("segments").long()
        apart = self.row_of * (own.max() + 1 if len(own) else 1) + own
        return torch.unique(apart, return_inverse=True)[1]  # type: ignore[no-any-return]

    def sum_by_row(self, values: Tensor) -> Tensor:
        """Sums of flat [N] values, one for each row [B]."""
        return torch.zeros(len(self.rows), dtype=values.dtype, device=values.device).index_add(0, self.row_of, values)


def lay_out(rows: Sequence[Row], *, device: torch.device | str = "cpu") -> Pack:
    """Lay rows out for one forward pass."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    trained = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids, dtype=torch.int64)
        trained[index, : len(row.ids)] = torch.tensor(row.trained, dtype=torch.bool)
        if row.trained and row.trained[0]:
            raise ValueError(
                f"{row.name}: its first token cannot be trained; nothing stands before it to predict it from."
            )
    row_of, column = trained.nonzero(as_tuple=True)
    return Pack(
        rows=rows,
        ids=ids.to(device),
        positions=torch.arange(longest, device=device).expand(len(rows), longest),
        row_of=row_of.to(device),
        place_of=(row_of * longest + column).to(device),
        token_ids=ids[row_of, column].to(device),
    )


def join(states: Sequence[Tensor]) -> Tensor:
    """Per-row tensors [tokens, D] as the flat [N, D] of their pack."""
    return torch.cat(list(states))


def micro_batches(rows: Sequence[Row], *, tokens: int, device: torch.device | str = "cpu") -> Iterator[Pack]:
    """Packs of at most `tokens` places each, longest rows first, so that rows of like length share a pack.

    What is computed does not depend on `tokens`: objectives return totals and counts, and the loop divides once.
    """
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        if len(row.ids) > tokens:
            raise TooLong(
                f"{row.name} has {len(row.ids)} tokens and a micro-batch holds {tokens}. "
                "Raise the token budget, or leave long records out when the data is prepared."
            )
        full = batch and (len(batch) + 1) * len(batch[0].ids) > tokens
        if full or (batch and len(row.ids) < FILLED * len(batch[0].ids)):
            yield lay_out(batch, device=device)
            batch = []
        batch.append(row)
    if batch:
        yield lay_out(batch, device=device)
