"""The own sampler: prompts are admitted as soon as there is room, so that the batch stays full until the last ones.

A prompt is read once for all its answers. An answer that has ended leaves the batch at once, and what it leaves free
goes to the next prompt. All that is computed for an answer is a function of its own tokens and seed: the products
over the weights are the only thing that is shared. On the packed path (`weights`) a row's result does not depend on
the other rows in any test we made, so an answer comes out the same alone and in any batch, bit for bit, on one machine
with one number of threads. Elsewhere the roundings of the products may differ in the seventh digit, and a token whose
number falls just between two others may come out as its neighbour; its log-probability is right in any case.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.engine.logprobs import causal_model, logits_of
from training.engine.rollouts.draw import draw
from training.engine.rollouts.sampling import Ask, Draft, Sampling, restrained
from training.engine.rollouts.stops import Stops
from training.engine.rollouts.stream import Extension, Group, Prefix, Stream, own_attention, run
from training.engine.rollouts.weights import light

READ = 2048  # tokens of prompts that are read in one pass, unless one prompt alone is longer
TOLERANCE = 1e-3  # relative, of hidden states on first use; a wrong mask is off by far more

Then = tuple[Sequence[int], Draft]  # what is said to an answer, as ids, and the draft of the next one
log = logging.getLogger("redpen.engine")
_checked: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


@torch.no_grad()
def write(
    policy: Any,
    asks: Iterable[Ask],
    *,
    sampling: Sampling,
    rows: int,
    copies: bool = True,
    ended: Callable[[Draft], Then | None] = lambda draft: None,
    heed: Callable[[], object] = lambda: None,
) -> None:
    """Write all drafts of all asks, at most `rows` at a time, admitted in the order of the asks; with `copies` of the
    weights (`weights`), which is faster, or in less memory without.

    `ended` is called with each draft when it has ended; what it returns is appended, and the next draft goes on from
    there with the cache of all that stands before. `heed` is called before each step; what it raises ends the writing.
    """
    causal = causal_model(policy.model)
    with light(policy.model, copies=copies), own_attention(causal):
        Writer(policy, causal, sampling, rows, ended, heed).write(asks)


class Writer:
    """One run of the sampler."""

    def __init__(
        self,
        policy: Any,
        causal: Any,
        sampling: Sampling,
        rows: int,
        ended: Callable[[Draft], Then | None],
        heed: Callable[[], object],
    ) -> None:
        self.backbone = causal.get_decoder()
        self.logits = logits_of(policy.model)
        self.device: torch.device = policy.device
        self.stops = Stops(policy.tokenizer, sampling)
        self.sampling = sampling
        self.rows = rows
        self.ended = ended
        self.heed = heed
        self.groups: list[Group] = []
        self.waiting: deque[tuple[Prefix, list[Draft]]] = deque()
        self.said: list[Extension] = []  # what environments said, not yet read; their answers hold their rows

    def write(self, asks: Iterable[Ask]) -> None:
        """Until nothing waits and nothing is being written."""
        self.waiting.extend((Prefix(ask.ids), list(ask.drafts)) for ask in asks if ask.drafts)
        while self.waiting or self.said or self.groups:
            self.heed()
            self._admit()
            if self.groups:
                self._step()

    def _admit(self) -> None:
        room = self.rows - sum(len(group) for group in self.groups) - len(self.said)
        begun: list[Group] = []
        while self.waiting and room >= min(len(self.waiting[0][1]), max(1, self.rows // 8)):
            prefix, drafts = self.waiting[0]
            begun.append(Group(prefix, drafts[:room]))
            if len(drafts) > room:
                self.waiting[0] = prefix, drafts[room:]
            else:
                self.waiting.popleft()
            room -= len(begun[-1])
        said, self.said = self.said, []
        unread = {id(group.prefix): group.prefix for group in begun if group.prefix.hidden is None}
        for part in _parts([*unread.values(), *said]):
            self._read(part)
        if begun:
            states = torch.stack([group.prefix.hidden for group in begun if group.prefix.hidden is not None])
            counts = torch.tensor([len(group) for group in begun], device=self.device)
            self._draw(begun, self.logits(states).repeat_interleave(counts, 0))

    def _read(self, pieces: Sequence[Prefix | Extension]) -> None:
        ids: list[int] = []
        positions: list[int] = []
        lasts: list[int] = []
        for piece in pieces:
            first = piece.group.position if isinstance(piece, Extension) else 0
            ids += piece.ids
            positions += range(first, first + len(piece))
            lasts.append(len(ids) - 1)
        hidden = run(self.backbone, Stream(pieces=pieces), ids, positions, self.device)[lasts]
        extended: list[Group] = []
        states: list[Tensor] = []
        for piece, state in zip(pieces, hidden, strict=True):
            if isinstance(piece, Prefix):
                piece.hidden = state
            else:
                piece.group.length += len(piece)
                extended.append(piece.group)
                states.append(state)
        if extended:
            self._draw(extended, self.logits(torch.stack(states)))

    def _step(self) -> None:
        groups, self.groups = self.groups, []
        ids = [draft.ids[-1] for group in groups for draft in group.drafts]
        positions = [group.position for group in groups for _ in group.drafts]
        hidden = run(self.backbone, Stream(groups=groups), ids, positions, self.device)
        for group in groups:
            group.length += 1
        self._draw(groups, self.logits(hidden))

    def _draw(self, groups: Sequence[Group], scores: Tensor) -> None:
        """A token for each draft of each group; those that go on are in `self.groups` afterwards."""
        drafts = [draft for group in groups for draft in group.drafts]
        numbers = torch.tensor([draft.draw for draft in drafts], dtype=torch.float64, device=self.device)
        drawn = draw(restrained(scores, drafts), numbers, self.sampling)
        full = drawn.full.tolist() if drawn.full is not None else [None] * len(drafts)
        over = [
            self.stops.take(draft, *told)
            for draft, *told in zip(drafts, drawn.tokens.tolist(), drawn.logprobs.tolist(), full, strict=True)
        ]
        start = 0
        for group in groups:
            ends = [place for place in range(len(group)) if over[start + place]]
            start += len(group)
            for place in reversed(ends):
                self._end(group, place)
            if group.drafts:
                self.groups.append(group)

    def _end(self, group: Group, place: int) -> None:
        draft = group.drafts[place]
        then = self.ended(draft)
        if then is None:
            group.drop(place)
            return
        said, following = then
        alone = group.part(place)
        alone.drafts = [following]
        self.said.append(Extension(alone, [draft.ids[-1], *said]))  # the last token was drawn, but not yet read


def _parts(pieces: Sequence[Prefix | Extension]) -> Iterable[Sequence[Prefix | Extension]]:
    part: list[Prefix | Extension] = []
    tokens = 0
    for piece in pieces:
        if part and tokens + len(piece) > READ:
            yield part
            part, tokens = [], 0
        part.append(piece)
        tokens += len(piece)
    if part:
        yield part


def can_write(model: Any) -> bool:
    """Whether this model gives in our stream what it gives row by row; asked once a model."""
    causal = causal_model(model)
    if causal not in _checked:
        reason = _why_not(model, causal)
        if reason is not None:
            log.warning("%s is sampled by transformers' own cache, slower: %s", type(causal).__name__, reason)
        _checked[causal] = reason is None
    return _checked[causal]


@torch.no_grad()
def _why_not(model: Any, causal: Any) -> str | None:
    """Write fixed tokens to two prompts both ways; the reason why ours cannot be used, or None."""
    generator = torch.Generator().manual_seed(0)
    backbone, device = causal.get_decoder(), next(causal.parameters()).device
    size = causal.get_input_embeddings().num_embeddings
    ids = torch.randint(size, (33,), generator=generator).tolist()
    texts = [[*ids[:9], *tail] for tail in (ids[20:23], ids[23:26])] + [[*ids[9:14], *ids[26:29]]]
    try:
        with light(model, copies=False):
            expected = torch.cat(
                [backbone(torch.tensor([text], device=device)).last_hidden_state[0, -4:] for text in texts]
            )
            with own_attention(causal):
                prompts = [Prefix(texts[0][:9]), Prefix(texts[2][:5])]
                places = [*range(9), *range(5)]
                read = run(backbone, Stream(pieces=prompts), [*texts[0][:9], *texts[2][:5]], places, device)
                steps = [read[[8, 8, 13]]]
                groups = [Group(prompts[0], [Draft(0, 0, Sampling(max_tokens=1)) for _ in range(2)])]
                groups.append(Group(prompts[1], groups[0].drafts[:1]))
                for step in range(3):
                    tokens = [text[step - 3] for text in texts]
                    at = [group.position for group in groups for _ in group.drafts]
                    steps.append(run(backbone, Stream(groups=groups), tokens, at, device))
                    for group in groups:
                        group.length += 1
        found = torch.stack(steps, 1).flatten(0, 1)
    except Exception as error:  # whatever an architecture does not take, the plain path takes
        return f"{type(error).__name__}: {error}"
    worst = float((found.float() - expected.float()).norm() / expected.float().norm().clamp_min(1e-12))
    tolerance = TOLERANCE if expected.dtype in (torch.float32, torch.float64) else 0.05
    return None if worst <= tolerance else f"in our stream it differs from itself by {worst:.2g} of its values"
