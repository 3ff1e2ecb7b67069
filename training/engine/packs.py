"""Rows of tokens laid out for one forward pass, without padding.

Everything that computes on rows speaks of *trained tokens*, one flat list of N over the whole pack, with the row of
each. How the tokens lie in the stream is the pack's own matter: rows of one unit share what they begin with
(`engine.forest`), so a trained token of two rows may stand in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from training.engine.distributed import here
from training.engine.forest import Forest, Tree, plant
from training.engine.ragged import Ragged

PAIRS_PER_TOKEN = 4096  # (query, key) pairs of the attention that weigh as much as one token in a budget


@dataclass(frozen=True)
class Row:
    """One sequence; `trained[i]` says whether token i is learned (or scored). `name` is the record's, for messages."""

    name: str
    ids: Sequence[int]
    trained: Sequence[bool]
    weights: Sequence[float] | None = None  # of the trained tokens, where an objective wants them
    targets: Sequence[Sequence[float]] | None = None  # of the trained tokens, for token classification
    segments: Sequence[int] | None = None  # of the trained tokens: which sentence of the row each is in
    of_tokens: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of the trained tokens: old log-probs, ...
    of_row: Mapping[str, float] = field(default_factory=dict)  # an advantage, a margin, ...

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.trained):
            raise ValueError(f"{self.name}: {len(self.ids)} tokens but a mask of {len(self.trained)}.")
        if self.trained and self.trained[0]:
            raise ValueError(
                f"{self.name}: its first token cannot be trained; nothing stands before it to predict it from."
            )


Unit = Row | Sequence[Row]  # rows that must be computed in one pack: a pair, a ranking, a group of samples


class TooLong(ValueError):
    """A unit is longer than the budget of a whole pack; the message names its records."""


@dataclass(frozen=True)
class Pack:
    """B rows with N trained tokens in a stream of T places. Flat tensors are in row order, then token order."""

    rows: Sequence[Row]
    units: Sequence[Sequence[int]]  # for each unit the numbers of its rows
    forest: Forest
    ids: Tensor  # int64 [1, T]
    positions: Tensor  # int64 [1, T]
    row_of: Tensor = field(repr=False)  # int64 [N]: the row of each trained token
    place_of: Tensor = field(repr=False)  # int64 [N]: its place in the stream
    before: Tensor = field(repr=False)  # int64 [N]: the place whose hidden state predicts it
    token_ids: Tensor = field(repr=False)  # int64 [N]: the trained tokens themselves
    last: Tensor = field(repr=False)  # int64 [B]: the place of each row's last token
    places: Sequence[Sequence[int]] = field(repr=False)  # of each row's tokens, in the stream

    @property
    def ragged(self) -> Ragged:
        """Which row each trained token is of."""
        return Ragged(self.row_of, len(self.rows))

    def flat(self, name: str) -> Tensor:
        """A per-token field of the rows as one float32 tensor [N] or [N, C]: `weights`, `targets`, or one of
        `of_tokens`.
        """
        values: list[object] = []
        for row in self.rows:
            of_row = row.of_tokens.get(name) if name in row.of_tokens else getattr(row, name, None)
            if of_row is None or len(of_row) != sum(row.trained):
                raise ValueError(f"{row.name}: {name} must be given for each of its {sum(row.trained)} trained tokens.")
            values.extend(of_row)
        return torch.tensor(values, dtype=torch.float32, device=self.ids.device)

    def by_row(self, name: str) -> Tensor:
        """One of `of_row` of all rows, float32 [B]."""
        for row in self.rows:
            if name not in row.of_row:
                raise ValueError(f"{row.name}: {name} must be given.")
        return torch.tensor([row.of_row[name] for row in self.rows], dtype=torch.float32, device=self.ids.device)

    def segments(self) -> Tensor:
        """int64 [N]: the segment of each trained token, numbered from 0 over the whole pack."""
        own = self.flat("segments").long()
        apart = self.row_of * (own.max() + 1 if len(own) else 1) + own
        return torch.unique(apart, return_inverse=True)[1]  # type: ignore[no-any-return]

    def sum_by_row(self, values: Tensor) -> Tensor:
        """Sums of flat [N] values, one for each row [B]."""
        return self.ragged.sum(values)

    @cached_property
    def rectangle(self) -> Rectangle:
        """The same rows right-padded, one beside the other: the plain path, and the oracle of this one."""
        longest = max(len(row.ids) for row in self.rows)
        ids = torch.zeros(len(self.rows), longest, dtype=torch.int64)
        home = torch.zeros(self.ids.shape[1], dtype=torch.int64)
        for index, (row, places) in enumerate(zip(self.rows, self.places, strict=True)):
            ids[index, : len(row.ids)] = torch.tensor(row.ids, dtype=torch.int64)
            home[list(places)] = torch.arange(len(places)) + index * longest
        device = self.ids.device
        positions = torch.arange(longest, device=device).expand(len(self.rows), longest)
        return Rectangle(ids.to(device), positions, home.to(device))


@dataclass(frozen=True)
class Rectangle:
    """The plain layout of a pack's rows: a causal model never looks at what stands to the right of a token."""

    ids: Tensor  # int64 [B, L]
    positions: Tensor  # int64 [B, L]
    home: Tensor  # int64 [T]: for each place of the stream one in the flattened [B * L] that stands for it


def lay_out(units: Sequence[Unit], *, device: torch.device | str = "cpu") -> Pack:
    """Lay rows out for one forward pass; what the rows of one unit begin with is laid out once."""
    return _assemble([_planned(unit) for unit in units], device)


def join(states: Sequence[Tensor]) -> Tensor:
    """Per-row tensors [tokens, D] as the flat [N, D] of their pack."""
    return torch.cat(list(states))


class Budget(NamedTuple):
    """What a pack may hold: units go together up to `tokens`, and one that is longer is a pack of its own, up to
    `at_most`.
    """

    tokens: int
    at_most: int


def micro_batches(
    units: Sequence[Unit], *, tokens: int | Budget, device: torch.device | str | None = None
) -> Iterator[Pack]:
    """Packs that each cost at most `tokens`: their tokens, shared ones counted once, and a little for the square of
    the attention. A unit is never parted; the dearest come first, and each goes where it still fits. They lie on
    `device`, by default this process's own.

    What is computed does not depend on `tokens`: objectives return totals and counts, and the loop divides once.
    Raises TooLong for a unit that has more tokens than any pack may have.
    """
    budget = tokens if isinstance(tokens, Budget) else Budget(tokens, tokens)
    most = max(budget)
    bins: list[tuple[float, list[Planned]]] = []
    for own, unit in sorted(((unit.cost, unit) for unit in map(_planned, units)), key=lambda one: -one[0]):
        if unit.tree.tokens > most:
            raise TooLong(
                f"{unit.names} has {unit.tree.tokens} tokens and a micro-batch holds {most}. "
                "Raise the token budget, or leave long records out when the data is prepared."
            )
        found = next((place for place, (cost, _) in enumerate(bins) if cost + own <= budget.tokens), None)
        if found is None:
            bins.append((own, [unit]))
        else:
            bins[found] = (bins[found][0] + own, [*bins[found][1], unit])
    for _, planned in bins:
        yield _assemble(planned, here().device if device is None else device)


@dataclass(frozen=True)
class Planned:
    """A unit with its tree."""

    rows: Sequence[Row]
    tree: Tree

    @property
    def cost(self) -> float:
        """In tokens."""
        return self.tree.tokens + self.tree.pairs / PAIRS_PER_TOKEN

    @property
    def names(self) -> str:
        """Of its records."""
        names = [row.name for row in self.rows]
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more, read together," if len(names) > 4 else "")


def _planned(unit: Unit) -> Planned:
    rows = [unit] if isinstance(unit, Row) else list(unit)
    return Planned(rows, Tree([row.ids for row in rows]))


def _assemble(planned: Sequence[Planned], device: torch.device | str) -> Pack:
    forest = plant([unit.tree for unit in planned])
    stream = [token for unit in planned for segment in unit.tree.walk() for token in segment.ids]
    rows: list[Row] = []
    units: list[list[int]] = []
    places: list[list[int]] = []
    row_of: list[int] = []
    place_of: list[int] = []
    before: list[int] = []
    for unit in planned:
        units.append(list(range(len(rows), len(rows) + len(unit.rows))))
        for number, row in enumerate(unit.rows):
            path = unit.tree.places(number)
            learned = [place for place, trained in enumerate(row.trained) if trained]
            row_of += [len(rows)] * len(learned)
            place_of += [path[place] for place in learned]
            before += [path[place - 1] for place in learned]
            places.append(path)
            rows.append(row)
    ids = torch.tensor(stream, dtype=torch.int64)
    where = torch.tensor(place_of, dtype=torch.int64)
    return Pack(
        rows=rows,
        units=units,
        forest=forest,
        ids=ids[None].to(device),
        positions=forest.positions()[None].to(device),
        row_of=torch.tensor(row_of, dtype=torch.int64).to(device),
        place_of=where.to(device),
        before=torch.tensor(before, dtype=torch.int64).to(device),
        token_ids=ids[where].to(device),
        last=torch.tensor([path[-1] if path else 0 for path in places], dtype=torch.int64).to(device),
        places=places,
    )
