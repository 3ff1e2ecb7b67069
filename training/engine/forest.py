"""Rows as a forest: what several rows of one unit begin with is laid out, and computed, once.

A unit is a preference pair, a ranking, a group of samples: rows that mostly share a prompt. Its rows become a tree of
segments; the trees stand one after the other, depth first, in one stream of tokens without padding. A token sees its
ancestors and what stands before it in its own segment, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

LEAST_SHARED = 4  # tokens; sharing fewer costs more calls of the attention kernel than it saves


@dataclass(frozen=True)
class Block:
    """One piece of the attention: queries and keys are ranges of the stream. Every query of a block sees all of its
    keys, or with `causal` (then both are one segment) those up to itself.
    """

    queries: tuple[int, int]
    keys: tuple[int, int]
    causal: bool


@dataclass(frozen=True)
class Forest:
    """S segments of a stream of T tokens, in depth-first order: the descendants of a segment follow it at once."""

    starts: Sequence[int]  # of each segment, in the stream
    ends: Sequence[int]
    reach: Sequence[int]  # where the last descendant of each segment ends
    depths: Sequence[int]  # how many tokens stand before each segment on its path

    @property
    def tokens(self) -> int:
        """T."""
        return self.ends[-1] if self.ends else 0

    @property
    def longest(self) -> int:
        """Tokens of the longest path."""
        paths = (depth + end - start for start, end, depth in zip(self.starts, self.ends, self.depths, strict=True))
        return max(paths, default=0)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The attention of the whole stream: each segment on itself, then all its descendants at once on it."""
        spans = list(zip(self.starts, self.ends, self.reach, strict=True))
        own = [Block((start, end), (start, end), True) for start, end, _ in spans]
        below = [Block((end, reach), (start, end), False) for start, end, reach in spans if reach > end]
        return (*own, *below)

    def positions(self) -> Tensor:
        """int64 [T]: the place of each token in the rows that it belongs to."""
        if not self.ends:
            return torch.zeros(0, dtype=torch.int64)
        return torch.cat(
            [
                torch.arange(depth, depth + end - start)
                for start, end, depth in zip(self.starts, self.ends, self.depths, strict=True)
            ]
        )

    def reaches(self) -> Tensor:
        """int64 [T]: for each token where the last descendant of its segment ends; k is seen by q when
        k <= q < reaches[k].
        """
        sizes = torch.tensor([end - start for start, end in zip(self.starts, self.ends, strict=True)])
        return torch.tensor(self.reach, dtype=torch.int64).repeat_interleave(sizes.long())

    def mask(self, *, device: torch.device | str = "cpu") -> Tensor:
        """bool [T, T]: whether the row's token sees the column's."""
        place, reaches = torch.arange(self.tokens, device=device), self.reaches().to(device)
        return (place[None] <= place[:, None]) & (place[:, None] < reaches[None])


@dataclass
class Segment:
    """A node while a tree is built."""

    ids: list[int]
    parent: Segment | None
    children: list[Segment] = field(default_factory=list)
    start: int = 0  # in the stream, once laid out


class Tree:
    """The radix tree of one unit's rows."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self.root = Segment([], None)
        self.ends = [self._insert(list(row)) for row in rows]

    @property
    def tokens(self) -> int:
        """Tokens that are computed for the unit."""
        return sum(len(segment.ids) for segment in self.walk())

    @property
    def pairs(self) -> int:
        """(query, key) pairs of its attention."""
        total = 0
        stack = [(child, 0) for child in self.root.children]
        while stack:
            segment, depth = stack.pop()
            size = len(segment.ids)
            total += size * depth + size * (size + 1) // 2
            stack += [(child, depth + size) for child in segment.children]
        return total

    def walk(self) -> list[Segment]:
        """Its segments, depth first."""
        found: list[Segment] = []
        stack = self.root.children[::-1]
        while stack:
            segment = stack.pop()
            found.append(segment)
            stack += segment.children[::-1]
        return found

    def places(self, row: int) -> list[int]:
        """Where each token of a row stands in the stream."""
        path: list[Segment] = []
        segment: Segment | None = self.ends[row]
        while segment is not None:
            path.append(segment)
            segment = segment.parent
        return [place for part in path[::-1] for place in range(part.start, part.start + len(part.ids))]

    def _insert(self, row: list[int]) -> Segment:
        node, done = self.root, 0
        while done < len(row):
            child, shared = None, 0
            for candidate in node.children:
                common = _common(candidate.ids, row, done)
                if common > shared:
                    child, shared = candidate, common
            if child is not None and shared == len(child.ids):
                node, done = child, done + shared
                continue
            if child is not None and shared >= LEAST_SHARED:
                node, done = _split(child, shared), done + shared
                if done == len(row):
                    return node
            leaf = Segment(list(row[done:]), node)
            node.children.append(leaf)
            return leaf
        return node


def plant(trees: Sequence[Tree]) -> Forest:
    """Lay the trees out one after the other; their segments learn where they stand."""
    starts: list[int] = []
    ends: list[int] = []
    reach: list[int] = []
    depths: list[int] = []
    place = 0

    for tree in trees:
        order = tree.walk()
        number = {id(segment): len(starts) + index for index, segment in enumerate(order)}
        for segment in order:
            segment.start = place
            place += len(segment.ids)
            parent = segment.parent
            above = number.get(id(parent))
            depths.append(0 if above is None else depths[above] + ends[above] - starts[above])
            starts.append(segment.start)
            ends.append(place)
            reach.append(place)
        for segment in reversed(order):
            above = number.get(id(segment.parent))
            if above is not None:
                reach[above] = max(reach[above], reach[number[id(segment)]])
    return Forest(tuple(starts), tuple(ends), tuple(reach), tuple(depths))


def _split(segment: Segment, at: int) -> Segment:
    """Part a segment in two; the lower half stays the same object, so that rows that end in it still do."""
    assert segment.parent is not None
    top = Segment(segment.ids[:at], segment.parent, [segment])
    siblings = segment.parent.children
    siblings[siblings.index(segment)] = top
    segment.ids, segment.parent = segment.ids[at:], top
    return top


def _common(ids: list[int], row: list[int], done: int) -> int:
    length = min(len(ids), len(row) - done)
    if ids[:length] == row[done : done + length]:
        return length
    return next(place for place in range(length) if ids[place] != row[done + place])
