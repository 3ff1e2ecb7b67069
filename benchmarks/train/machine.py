"""The machine: what it is, how busy it is, how fast it multiplies; and what a step needs at least."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl")


@dataclass(frozen=True)
class Needed:
    """What the matrices of a model cost, in floating-point operations a token (a multiplication and an addition each
    count).
    """

    layers: float  # of the frozen linear layers, one way
    adapter: float  # of the adapter's
    head: float  # of the output layer

    @classmethod
    def of(cls, model: Any) -> Needed:
        causal = model.get_base_model()
        head = causal.get_output_embeddings().weight
        named = list(causal.get_decoder().layers.named_parameters())
        adapter = sum(p.numel() for name, p in named if "lora_" in name)
        layers = sum(p.numel() for name, p in named if "lora_" not in name and p.dim() == 2)
        return cls(2.0 * layers, 2.0 * adapter, 2.0 * head.numel())

    def of_step(self, tokens: int, trained: int, *, forwards: int = 1) -> float:
        """`tokens` computed (shared ones once), `trained` of them through the head. Backward goes through frozen
        weights once (to the input) and through the adapter twice; the head's logits are made twice. Attention is left
        out: it is small at these lengths.
        """
        forward = tokens * (self.layers + self.adapter) + trained * self.head
        backward = tokens * (self.layers + 2 * self.adapter) + trained * 2 * self.head
        return forwards * forward + backward


def matmul_rate(threads: int = 1, *, seconds: float = 1.0) -> float:
    """Floating-point operations a CPU-second of this machine's own float32 matrix product, 1024 each way, the best of
    what `seconds` give.
    """
    import torch

    torch.set_num_threads(threads)
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    _ = left @ right
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.process_time()
        _ = left @ right
        best = min(best, time.process_time() - started)
    return 2 * 1024**3 / best


def load() -> float:
    """Load average of the last minute."""
    return os.getloadavg()[0]


def describe() -> dict[str, str]:
    """What figures are worth nothing without."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    told = [flag for flag in fields.get("flags", "").split() if flag.startswith(("avx", "amx", "fma"))]
    return {
        "cpu": f"{fields.get('model name', platform.processor())} x {os.cpu_count()}",
        "flags": " ".join(told),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
