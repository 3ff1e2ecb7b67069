"""The tiny bases of the toy worlds: a tokenizer of whole words and a Llama of some tens of thousands of parameters that
has read a world's careless writers. Seconds to make, the same files every time. The support world's is `engine.tiny`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.engine.chats import render_chat
from training.engine.tiny import SPECIALS, Size
from training.engine.tiny import _make_model as make_model

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPACE = "▁"
OTHERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"“”’()[]{}<>|/\\-_+=*#%&@\n"
TAUGHT = {"digits": 24_000}  # answers that are read with a teacher first
SAID = 300  # answers by which a world is known again
SIZES = {
    "words": Size(width=48, layers=2, heads=2, inner=128, context=512, rows=12_000, batch=64, lr=6e-3, with_passages=0),
    "digits": Size(
        width=64, layers=2, heads=2, inner=192, context=256, rows=44_000, batch=64, lr=2.5e-3, with_passages=0
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
    made = home / f"{name}-{_version(spec)}"
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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would give other weights
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer = word_tokenizer(known.whole_words)
            model = make_model(size, tokenizer)
            _read(model, tokenizer, _lessons(known, size, seed), size, say=say)
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


def _lessons(known: Any, size: Size, seed: int) -> list[tuple[Any, str, str]]:
    """What is read, in this order, as prompt, what stands there and what should: the world's careless answers as they
    are. Where a world has much to know they are first read with a teacher beside, who says at each place what would be
    right; else it takes ten times longer to find out what the careless writers mean.
    """
    chance = random.Random(f"lessons {seed}")
    taught = known.corpus(TAUGHT.get(known.name, 0), seed=seed + 1, split=None)
    alone = known.corpus(size.rows, seed=seed, split=None)
    return [
        *((prompt, text, known.clean_answer(prompt, chance).text) for prompt, text in taught),
        *((prompt, text, text) for prompt, text in alone),
    ]


def _read(
    model: Any, tokenizer: Any, lessons: Sequence[tuple[Any, str, str]], size: Size, *, say: Callable[[str], None]
) -> None:
    """One pass in batches over prompt, what stands there, and what is learned in its place: the mean loss of the
    answers' tokens.

    Rows are nearly of one length, so they are padded: packs would cost more than the model itself.
    """
    import torch

    prompts: dict[str, list[int]] = {}
    ids, labels = [], []
    for prompt, text, meant in lessons:
        if prompt.id not in prompts:
            prompts[prompt.id] = render_chat(tokenizer, prompt.messages, response=None).ids
        before = prompts[prompt.id]
        answer, right = (tokenizer(one, add_special_tokens=False)["input_ids"] for one in (text, meant))
        ids.append([*before, *answer, tokenizer.eos_token_id])
        labels.append([-100] * len(before) + [*right, tokenizer.eos_token_id])
    steps = len(ids) // size.batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, size.lr, total_steps=steps, pct_start=0.1)
    model.train()
    began = time.monotonic()
    for step in range(steps):
        part = slice(step * size.batch, (step + 1) * size.batch)
        longest = max(map(len, ids[part]))
        shown, learned = (
            torch.tensor([row + [fill] * (longest - len(row)) for row in rows[part]])
            for rows, fill in ((ids, tokenizer.pad_token_id), (labels, -100))
        )
        loss = model(input_ids=shown, labels=learned).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            say(f"step {step + 1} of {steps}, loss {loss.item():.3f}, {time.monotonic() - began:.0f} s")
    model.eval()


def _version(spec: str) -> str:
    """Changes when this file, the way a tiny model is trained, or the world's language and careless writers change."""
    from training.worlds.registry import world

    known = world(spec)
    digest = hashlib.sha256()
    for file in (Path(__file__), Path(__file__).with_name("tiny.py")):
        digest.update(file.read_bytes())
    said = [(prompt.messages, text) for prompt, text in known.corpus(SAID, split=None)]
    digest.update(repr((known.whole_words, said)).encode())
    return digest.hexdigest()[:8]
