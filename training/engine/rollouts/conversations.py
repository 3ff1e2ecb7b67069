"""Conversations of several turns: an environment answers the policy, and only what the policy said is trained.

Tokens are appended, never decoded and encoded again: an episode's ids hold every answer as it was sampled, and between
two answers what the chat template writes there, without the stop token where the answer brought its own. The cache of
all that stands before is kept from turn to turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from training.engine.chats import Message, TemplateRefused, encode, render_chat, stop_ids
from training.engine.packs import Row
from training.engine.policy import Policy
from training.engine.rollouts import own
from training.engine.rollouts.backends import writer_of
from training.engine.rollouts.sampling import Ask, Draft, Sample, Sampling, seed_of
from training.engine.rollouts.stops import Stops

MARK = "Zq"  # stands for an answer while the template's text around it is looked for


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an environment makes of an answer. `says` as text is a user's message; as messages, those (tools' too)."""

    says: str | Sequence[Message] = ()
    reward: float = 0.0  # of this answer alone
    done: bool = False  # nothing more is said


class Environment(Protocol):
    """The other side of one conversation; it may keep a state, since each episode has one of its own."""

    def reset(self, seed: int) -> Sequence[Message]:
        """Begin: the messages that the first answer is to."""

    def step(self, answer: Sample) -> Reply:
        """React to an answer. `finished` False says that it was cut off at max_tokens."""


@dataclass
class Episode:
    """One conversation, whole. `ids` are all its tokens; `trained` says which of them the policy sampled."""

    environment: int  # its place in the list of environments
    seed: int
    messages: list[Message]
    ids: list[int]
    trained: list[bool]
    turns: list[Sample] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)  # one for each turn
    done: bool = False  # False: cut short by the number of turns or by the window

    @property
    def logprobs(self) -> list[float]:
        """The sampler's, one for each trained token."""
        return [value for turn in self.turns for value in turn.logprobs]

    def row(self, name: str, *, of_row: Mapping[str, float] | None = None) -> Row:
        """The whole conversation as one row; `segments` are the turns, `old` the sampler's log-probs."""
        return Row(
            name=name,
            ids=self.ids,
            trained=self.trained,
            segments=[number for number, turn in enumerate(self.turns) for _ in turn.ids],
            of_tokens={"old": self.logprobs},
            of_row=dict(of_row or {}),
        )


def episodes(
    policy: Policy,
    environments: Sequence[Environment],
    *,
    sampling: Sampling | None = None,
    turns: int = 8,
    window: int | None = None,
    seed: int = 0,
    rows: int = 64,
    heed: Callable[[], object] = lambda: None,
) -> list[Episode]:
    """One conversation with each environment, in their order, of at most `turns` answers of `sampling.max_tokens`.

    Episode e has the seed `seed_of(seed, e, 0)`, its answer t `seed_of(that, t, 0)`. Openings that are the same are
    read once. An episode ends when its environment says so, or when another answer might not fit into `window` tokens
    (by default what the model reads). While an environment thinks, the batch waits: slow ones should answer from a
    pool of their own. Raises TemplateRefused where the chat template does not close an answer with a stop token, and
    ValueError for an opening that has no room for an answer.
    """
    sampling = sampling or Sampling()
    if window is None:
        window = getattr(policy.model.config, "max_position_embeddings", None)
    stops = Stops(policy.tokenizer, sampling)
    found: list[Episode] = []
    for place, environment in enumerate(environments):
        own_seed = seed_of(seed, place, 0)
        messages = list(environment.reset(own_seed))
        ids = render_chat(policy.tokenizer, messages, response=None).ids
        if window is not None and len(ids) + sampling.max_tokens > window:
            raise ValueError(
                f"The opening of episode {place} has {len(ids)} tokens; with an answer of {sampling.max_tokens} it is "
                f"longer than the {window} that are read."
            )
        found.append(Episode(place, own_seed, messages, ids, [False] * len(ids)))

    def draft_of(episode: Episode) -> Draft:
        return Draft(episode.environment, seed_of(episode.seed, len(episode.turns), 0), sampling)

    def ended(draft: Draft) -> own.Then | None:
        episode = found[draft.prompt]
        answer = stops.sample(draft)
        episode.turns.append(answer)
        episode.ids += answer.ids
        episode.trained += [True] * len(answer.ids)
        reply = environments[draft.prompt].step(answer)
        episode.rewards.append(reply.reward)
        episode.done = reply.done
        said = [{"role": "user", "content": reply.says}] if isinstance(reply.says, str) else list(reply.says)
        before = list(episode.messages)
        episode.messages += [{"role": "assistant", "content": answer.text}, *said]
        if reply.done or len(episode.turns) == turns:
            return None
        ids = reply_ids(policy.tokenizer, before, said, closed=answer.ids[-1] in stops.closing)
        if window is not None and len(episode.ids) + len(ids) + sampling.max_tokens > window:
            return None
        episode.ids += ids
        episode.trained += [False] * len(ids)
        return ids, draft_of(episode)

    asks: dict[tuple[int, ...], Ask] = {}
    for episode in found:
        asks.setdefault(tuple(episode.ids), Ask(list(episode.ids), [])).drafts.append(draft_of(episode))
    if asks and turns > 0:
        writer_of(policy)(policy, asks.values(), sampling=sampling, rows=rows, ended=ended, heed=heed)
    return found


def reply_ids(tokenizer: Any, before: Sequence[Message], said: Sequence[Message], *, closed: bool) -> list[int]:
    """What the template writes from the end of an answer to the beginning of the next: the stop token, unless the
    answer is `closed` by one, the messages said to it, and the next generation prompt.
    """
    mark = MARK
    while any(mark in str(message) for message in (*before, *said)):
        mark += MARK[-1]
    told = [*before, {"role": "assistant", "content": mark}, *said]
    text = render_chat(tokenizer, told, response=None).text
    if text.count(mark) != 1:
        raise TemplateRefused("The chat template alters an earlier answer, so a conversation cannot be continued.")
    ids, _ = encode(tokenizer, text.partition(mark)[2])
    if not ids or ids[0] not in stop_ids(tokenizer):
        raise TemplateRefused("The chat template closes an answer without a stop token, so a turn would never end.")
    return ids[1:] if closed else ids
