"""Heads that read scores off the backbone's hidden states. A head is saved as its own safetensors file, beside the
adapter, so that no adapter library can lose it or leave it untrained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.engine.logprobs import hidden_states
from training.engine.packs import Pack


class TokenHead(nn.Module):
    """Scores for each token, float32: named outputs, computed from its hidden state."""

    def __init__(self, width: int, outputs: Sequence[str], *, dropout: float = 0.0) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, len(self.outputs))
        nn.init.zeros_(self.linear.weight)  # so that training starts from "no opinion", whatever the seed
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[N, D] -> float32 [N, outputs]."""
        scores: Tensor = self.linear(self.dropout(self.norm(hidden.float())))
        return scores

    def save(self, path: Path) -> None:
        """Write weights and the names of the outputs; `load` gives the same head back, bit for bit."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(weights, str(path), metadata={"outputs": json.dumps(self.outputs)})

    @classmethod
    def load(cls, path: Path) -> TokenHead:
        """Read a head that `save` wrote."""
        with safe_open(str(path), framework="pt") as file:
            outputs = json.loads(file.metadata()["outputs"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        head = cls(weights["linear.weight"].shape[1], outputs)
        head.load_state_dict(weights)
        return head.eval()


def token_scores(model: nn.Module, head: TokenHead, pack: Pack) -> Tensor:
    """The head's scores at the pack's trained tokens themselves, float32 [N, outputs]."""
    return head(hidden_states(model, pack, at=pack.place_of))  # type: ignore[no-any-return]


def sentiment(scores: Tensor) -> Tensor:
    """Probabilities of bad, neutral, good from a head's first three outputs, float32 [N, 3]."""
    return torch.softmax(scores[:, :3], dim=-1)
