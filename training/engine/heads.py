"""Heads that read scores off the backbone's hidden states. A head is saved as its own safetensors file, beside the
adapter, so that no adapter library can lose it or leave it untrained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.engine.logprobs import hidden_states
from training.engine.packs import Pack


class TokenHead(nn.Module):
    """Scores for each token, float32: named outputs, computed from its hidden state.

    A `pooled` head reads the mean state of the token's segment (its sentence) beside the token's own: people mark
    phrases, and what stands around a token says much about it.
    """

    def __init__(self, width: int, outputs: Sequence[str], *, pooled: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        self.pooled = pooled
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(2 * width if pooled else width, len(self.outputs))
        nn.init.zeros_(self.linear.weight)  # so that training starts from "no opinion", whatever the seed
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor, segments: Tensor | None = None) -> Tensor:
        """[N, D], and for a pooled head int64 [N] that numbers segments from 0 -> float32 [N, outputs]."""
        states: Tensor = self.norm(hidden.float())
        if self.pooled:
            if segments is None:
                raise ValueError("A pooled head needs to know which segment each token is in.")
            sizes = torch.bincount(segments).float()
            means = states.new_zeros(len(sizes), states.shape[1]).index_add(0, segments, states) / sizes[:, None]
            states = torch.cat([states, means[segments]], -1)
        scores: Tensor = self.linear(self.dropout(states))
        return scores

    def save(self, path: Path) -> None:
        """Write weights and the names of the outputs; `load` gives the same head back, bit for bit."""
        _write(self, path)

    @classmethod
    def load(cls, path: Path) -> TokenHead:
        """Read a head that `save` wrote."""
        outputs, weights = _read(cls, path)
        width = weights["norm.weight"].shape[0]
        head = cls(width, outputs, pooled=weights["linear.weight"].shape[1] == 2 * width)
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
        outputs, weights = _read(cls, path)
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
    return head(hidden, pack.segments() if head.pooled else None)  # type: ignore[no-any-return]


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


def _write(head: TokenHead | ScoreHead, path: Path) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    save_file(weights, str(path), metadata={"kind": type(head).__name__, "outputs": json.dumps(head.outputs)})


def _read(kind: type, path: Path) -> tuple[list[str], dict[str, Tensor]]:
    """Names of the outputs and weights; raise ValueError where the file holds another kind of head."""
    with safe_open(str(path), framework="pt") as file:
        said = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    found = said.get("kind", "TokenHead")  # the first ones were written without
    if found != kind.__name__:
        raise ValueError(f"{path} holds a {found}, not a {kind.__name__}.")
    return json.loads(said["outputs"]), weights
