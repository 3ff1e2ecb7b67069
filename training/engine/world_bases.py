"""The tiny bases of the toy worlds: a tokenizer of whole words and a Llama of some tens of thousands of parameters that
has read a world's careless writers. Seconds to make, the same files every time. The support world's is `engine.tiny`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.engine.tiny import SPECIALS, Example, Size
from training.engine.tiny import _make_model as make_model
from training.engine.tiny import _pretrain as pretrain

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPACE = "▁"
OTHERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"“”’()[]{}<>|/\\-_+=*#%&@\n"
SIZES = {
    "words": Size(width=48, layers=2, heads=2, inner=128, context=512, rows=12_000, batch=64, lr=6e-3, with_passages=0),
    "digits": Size(
        width=64, layers=2, heads=2, inner=192, context=256, rows=30_000, batch=128, lr=6e-3, with_passages=0
    ),
    "cycles": Size(width=32, layers=1, heads=2, inner=64, context=256, rows=12_000, batch=64, lr=6e-3, with_passages=0),
}


def ensure_world_base(folder: Path | str, spec: str, seed: int = 0, *, say: Callable[[str], None] = print) -> Path:
    """The tiny base of a world (`training.worlds.registry`: "words", "words:24,kinds", "digits", "cycles"), in a folder
    of its own under `folder`: made at the first call, found again later. The same name and seed give the same files on
    every machine. The support world's is "tiny" itself (`engine.models.ensure_base`), whatever the seed.
    """
    from training.engine.models import ensure_base
    from training.worlds.registry import world

    home = Path(folder)
    known = world(spec)
    if known.name == "support":
        return Path(ensure_base(home / "tiny", say=say))
    name = re.sub(r"[^a-z0-9]+", "-", f"{spec} {seed}")
    made = home / f"{name}-{_version()}"
    if made.is_dir():
        return made
    home.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{made.name}-", dir=home))
    try:
        say(f"Making the tiny base of the world {spec}: some seconds, once.")
        build_world_base(aside, spec, seed=seed, say=say)
        aside.chmod(0o755)
        with contextlib.suppress(OSError):  # somebody was faster: theirs is as good
            aside.rename(made)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return made


def build_world_base(
    folder: Path, spec: str, *, seed: int = 0, size: Size | None = None, say: Callable[[str], None] = lambda text: None
) -> None:
    """Train tokenizer and model on one thread and write them to `folder`."""
    import torch

    from training.worlds.registry import world

    known = world(spec)
    size = size or SIZES[known.name]
    pairs = known.corpus(size.rows, seed=seed, split=None)
    examples = [Example([dict(m) for m in prompt.messages], [], text) for prompt, text in pairs]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would give other weights
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer = word_tokenizer(known.whole_words)
            model = make_model(size, tokenizer)
            pretrain(model, tokenizer, examples, size, seed=seed, say=say)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    about = {"kind": "base", "name": f"tiny {spec}", "seed": seed, "world": spec, **asdict(size)}
    (folder / "redpen.json").write_text(json.dumps(about) + "\n")


def word_tokenizer(words: Sequence[str]) -> Any:
    """A tokenizer of which each of these words is one token, wherever it stands; what else is written is spelled in
    letters, and other characters in bytes, so that any text comes back (but for spaces at its beginning).
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as tokenizer_models
    from transformers import PreTrainedTokenizerFast

    pieces = [(word, 0.0) for word in SPECIALS]
    pieces += [(SPACE + word, -1.0) for word in dict.fromkeys(words)]
    pieces += [(SPACE, -10.0)] + [(letter, -10.0) for letter in OTHERS]
    pieces += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    core = Tokenizer(tokenizer_models.Unigram(pieces, unk_id=0, byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    core.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=list(SPECIALS[2:]),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _version() -> str:
    """Changes when this file, the way a tiny model is trained, or the worlds' language changes."""
    from importlib.util import find_spec

    worlds = find_spec("training.worlds")
    places = [Path(place) for place in (worlds.submodule_search_locations if worlds else None) or []]
    language = ("cycles", "digits", "toy", "vocabularies", "words")
    digest = hashlib.sha256()
    tiny = Path(__file__).with_name("tiny.py")
    for file in [Path(__file__), tiny, *(place / f"{name}.py" for place in places for name in language)]:
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:8]
