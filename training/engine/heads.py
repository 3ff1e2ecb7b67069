"""Heads that read scores off the backbone's hidden states. A head is saved as its own safetensors file, beside the
adapter, so that no adapter library can lose it or leave it untrained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.engine.logprobs import hidden_states
from training.engine.packs import Pack


class TokenHead(nn.Module):
    """Scores for each token, float32: named outputs, computed from its hidden state.

    People mark phrases, and what stands around a token says much about it: a `pooled` head reads the mean state of the
    token's segment (its sentence) beside the token's own, one with `phrases` that of its phrase, too. `evidence` is
    how many figures it is given of every token besides (`engine.evidence`), each standardised by `centre` and `scale`
    and cut off at LIMIT.
    """

    LIMIT = 4.0  # an answer ten times longer than any that was learned from must not count ten times as much

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        width: int,
        outputs: Sequence[str],
        *,
        pooled: bool = False,
        phrases: bool = False,
        evidence: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        self.width = width
        self.pooled = pooled
        self.phrases = phrases
        self.evidence = evidence
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear((1 + pooled + phrases) * width + evidence, len(self.outputs))
        if evidence:
            self.register_buffer("centre", torch.zeros(evidence))
            self.register_buffer("scale", torch.ones(evidence))
        nn.init.zeros_(self.linear.weight)  # so that training starts from "no opinion", whatever the seed
        nn.init.zeros_(self.linear.bias)

    @property
    def parts(self) -> dict[str, int]:
        """What stands beside each other in `inputs`, and how wide each is."""
        widths = {"token": self.width}
        if self.pooled:
            widths["sentence"] = self.width
        if self.phrases:
            widths["phrase"] = self.width
        if self.evidence:
            widths["evidence"] = self.evidence
        return widths

    def standardise(self, evidence: Tensor) -> None:
        """Take centre and scale from the figures [N, evidence] of what is learned from."""
        self.centre.copy_(evidence.mean(0))
        spread = evidence.std(0, correction=0)
        self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def inputs(
        self,
        hidden: Tensor,
        segments: Tensor | None = None,
        phrases: Tensor | None = None,
        evidence: Tensor | None = None,
    ) -> Tensor:
        """What the linear layer reads, float32 [N, sum of parts]; arguments as of `forward`."""
        states: Tensor = self.norm(hidden.float())
        found = [states]
        for wanted, places, what in ((self.pooled, segments, "segment"), (self.phrases, phrases, "phrase")):
            if wanted and places is None:
                raise ValueError(f"This head needs to know which {what} each token is in.")
            if wanted and places is not None:
                found.append(_means(states, places))
        if self.evidence:
            if evidence is None:
                raise ValueError(f"This head needs {self.evidence} figures of each token.")
            found.append(((evidence - self.centre) / self.scale).clamp(-self.LIMIT, self.LIMIT))
        return torch.cat(found, -1) if len(found) > 1 else states

    def forward(
        self,
        hidden: Tensor,
        segments: Tensor | None = None,
        phrases: Tensor | None = None,
        evidence: Tensor | None = None,
    ) -> Tensor:
        """[N, D], int64 [N] each that number segments and phrases from 0, float32 [N, evidence] -> [N, outputs]."""
        scores: Tensor = self.linear(self.dropout(self.inputs(hidden, segments, phrases, evidence)))
        return scores

    def save(self, path: Path) -> None:
        """Write weights and the names of the outputs; `load` gives the same head back, bit for bit."""
        _write(self, path, {"phrases": self.phrases})

    @classmethod
    def load(cls, path: Path) -> TokenHead:
        """Read a head that `save` wrote."""
        outputs, weights, said = _read(cls, path)
        width, evidence = weights["norm.weight"].shape[0], len(weights.get("centre", ()))
        phrases = bool(said.get("phrases", False))  # the first ones were written without
        states = (weights["linear.weight"].shape[1] - evidence) // width
        head = cls(width, outputs, pooled=states == 2 + phrases, phrases=phrases, evidence=evidence)
        head.load_state_dict(weights)
        return head.eval()


class ScoreHead(nn.Module):
    """Scores of a whole row from one hidden state, float32: one linear layer, by default without a bias.

    One output is a reward; several are labels that hold or do not (multi-label) or classes, as the objective reads
    them. `row_scores` reads it at each row's last token, `values` before each trained token.
    """

    def __init__(
        self, width: int, outputs: Sequence[str] = ("score",), *, bias: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, len(self.outputs), bias=bias)
        nn.init.zeros_(self.linear.weight)  # so that training starts from "no opinion", whatever the seed
        if bias:
            nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, D] -> float32 [B, outputs]."""
        scores: Tensor = self.linear(self.dropout(hidden.float()))
        return scores

    def save(self, path: Path) -> None:
        """Write weights and the names of the outputs; `load` gives the same head back, bit for bit."""
        _write(self, path)

    @classmethod
    def load(cls, path: Path) -> ScoreHead:
        """Read a head that `save` wrote."""
        outputs, weights, _ = _read(cls, path)
        head = cls(weights["linear.weight"].shape[1], outputs, bias="linear.bias" in weights)
        head.load_state_dict(weights)
        return head.eval()


def row_scores(model: nn.Module, head: ScoreHead, pack: Pack) -> Tensor:
    """The head's scores of each row, read at the row's last token, float32 [B, outputs].

    The place is the pack's own index: never searched for by the id of a padding or stop token, so that a model whose
    padding is its stop token is read like any other, and a row scores alone what it scores in company.
    """
    return head(hidden_states(model, pack, at=pack.last))  # type: ignore[no-any-return]


def values(model: nn.Module, head: ScoreHead, pack: Pack) -> Tensor:
    """V_t of each trained token: what the head makes of the state *before* it, float32 [N].

    The state that predicts token t has seen the prompt and the tokens up to t - 1: it is what the action is taken in.
    """
    if len(head.outputs) != 1:
        raise ValueError(f"A value is one number; this head has {len(head.outputs)} outputs.")
    return head(hidden_states(model, pack, at=pack.before))[:, 0]  # type: ignore[no-any-return]


def token_scores(model: nn.Module, head: TokenHead, pack: Pack, *, hidden: Tensor | None = None) -> Tensor:
    """The head's scores at the pack's trained tokens themselves, float32 [N, outputs].

    `hidden` [N, D] stands in for the backbone where its states are known already, because it is frozen.
    """
    if hidden is None:
        hidden = hidden_states(model, pack, at=pack.place_of)
    return head(hidden, **beside(head, pack))  # type: ignore[no-any-return]


def beside(head: TokenHead, pack: Pack) -> dict[str, Tensor]:
    """What a head reads of a pack's trained tokens beside their states: `segments`, `phrases`, `evidence`."""
    found = {}
    if head.pooled:
        found["segments"] = pack.segments()
    if head.phrases:
        own = pack.flat("phrases").long()
        apart = pack.row_of * (own.max() + 1 if len(own) else 1) + own
        found["phrases"] = torch.unique(apart, return_inverse=True)[1]
    if head.evidence:
        found["evidence"] = pack.flat("evidence").reshape(-1, head.evidence)
    return found


@torch.no_grad()
def known_states(model: nn.Module, packs: Iterable[Pack]) -> dict[str, Tensor]:
    """Hidden states [tokens, D] of every row's trained tokens, by the row's name: a frozen backbone is read once."""
    model.eval()
    found = {}
    for pack in packs:
        states = hidden_states(model, pack, at=pack.place_of)
        for index, row in enumerate(pack.rows):
            found[row.name] = states[pack.row_of == index].clone()
    return found


def sentiment(scores: Tensor) -> Tensor:
    """Probabilities of bad, neutral, good from a head's first three outputs, float32 [N, 3]."""
    return torch.softmax(scores[:, :3], dim=-1)


def _means(states: Tensor, places: Tensor) -> Tensor:
    """Of each state [N, D] the mean of all that stand in the same place, int64 [N] from 0."""
    sizes = torch.bincount(places).float()
    means = states.new_zeros(len(sizes), states.shape[1]).index_add(0, places, states) / sizes[:, None]
    return means[places]


def _write(head: TokenHead | ScoreHead, path: Path, said: Mapping[str, Any] | None = None) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    about = {"kind": type(head).__name__, "outputs": json.dumps(head.outputs), "said": json.dumps(dict(said or {}))}
    save_file(weights, str(path), metadata=about)


def _read(kind: type, path: Path) -> tuple[list[str], dict[str, Tensor], dict[str, Any]]:
    """Names of the outputs, weights, and what else was said of them; raise ValueError where the file holds another kind
    of head.
    """
    with safe_open(str(path), framework="pt") as file:
        about = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    found = about.get("kind", "TokenHead")  # the first ones were written without
    if found != kind.__name__:
        raise ValueError(f"{path} holds a {found}, not a {kind.__name__}.")
    return json.loads(about["outputs"]), weights, json.loads(about.get("said", "{}"))
