"""The tiny base: a Llama of about a million parameters, made by us in about a minute, the same on every machine.

Its language is the support world's. It has read answers with defects as often as the world plants them, so it answers
the world's prompts as a careless support person would: there is something to mark, and something to learn.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.engine.passages import with_passages

SPECIALS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How big, and how long it reads."""

    vocabulary: int = 1536
    width: int = 128
    layers: int = 3
    heads: int = 4
    inner: int = 352
    context: int = 1024
    rows: int = 5600
    batch: int = 12
    lr: float = 5e-3
    with_passages: float = 0.1  # share of the rows that show the prompt's passages


@dataclass(frozen=True)
class Example:
    """A conversation and the answer that the tiny base reads."""

    messages: Sequence[dict[str, Any]]
    context: Sequence[dict[str, Any]]
    answer: str


def world_examples(rows: int, *, seed: int = 0) -> list[Example]:
    """What the tiny base reads: the training prompts of the demo's world, with answers as careless as the world's
    people.
    """
    from training.worlds.support import World

    return [
        Example([dict(m) for m in prompt.messages], [dict(c) for c in prompt.context], answer.text)
        for prompt, answer in World(seed).corpus(rows, seed=seed, split="train")
    ]


def build_tiny(
    folder: Path,
    *,
    seed: int = 0,
    size: Size | None = None,
    examples: Sequence[Example] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Train tokenizer and model on one thread and write them to `folder`; the same inputs give the same files."""
    import torch

    size = size or Size()
    examples = examples if examples is not None else world_examples(size.rows, seed=seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would give other weights
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer = make_tokenizer(
                (text for example in examples for text in _texts(example)), vocabulary=size.vocabulary
            )
            model = _make_model(size, tokenizer)
            _pretrain(model, tokenizer, examples, size, seed=seed, say=say)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    (folder / "redpen.json").write_text(
        json.dumps({"kind": "base", "name": "tiny", "seed": seed, **asdict(size)}) + "\n"
    )


def make_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Any:
    """A byte-level BPE tokenizer: any text goes through it and comes back unaltered."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as tokenizer_models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(tokenizer_models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=list(SPECIALS[2:]),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def source_hash() -> str:
    """Changes when this file or the world's language changes: a cache of the tiny base is keyed by it."""
    from importlib.util import find_spec

    digest = hashlib.sha256()
    worlds = find_spec("training.worlds")
    places = [Path(place) for place in (worlds.submodule_search_locations if worlds else None) or []]
    language = ("handbook", "phrases", "support", "writing")
    for file in [Path(__file__), *(place / f"{name}.py" for place in places for name in language)]:
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:16]


def _texts(example: Example) -> Iterable[str]:
    yield from (message["content"] for message in example.messages)
    yield example.answer
    yield from (passage["text"] for passage in example.context)


def _make_model(size: Size, tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.05,
    )
    return LlamaForCausalLM(config)


def _pretrain(
    model: Any, tokenizer: Any, examples: Sequence[Example], size: Size, *, seed: int, say: Callable[[str], None]
) -> None:
    import random

    from training.engine.logprobs import completion_logprobs
    from training.engine.loop import Loop, batches, steps_of
    from training.engine.objectives import sft
    from training.engine.packs import Row, micro_batches
    from training.engine.tokens import render_chat

    chance = random.Random(f"tiny {seed}")
    rows = []
    for index, example in enumerate(examples):
        passages = "\n".join(f"{passage['title']}: {passage['text']}" for passage in example.context)
        shown = with_passages(example.messages, passages if chance.random() < size.with_passages else "")
        chat = render_chat(tokenizer, shown, response=example.answer)
        rows.append(Row(name=f"row {index}", ids=chat.ids, trained=chat.completion_mask))
    loop = Loop(
        list(model.parameters()),
        lr=size.lr,
        steps=steps_of(len(rows), size=size.batch, epochs=1),
        schedule="cosine",
        weight_decay=0.01,
        betas=(0.9, 0.98),
    )
    model.train()
    began = time.monotonic()
    for batch in batches(rows, size=size.batch, epochs=1, seed=seed):
        loop.forward_backward(
            micro_batches(batch, tokens=3072), lambda pack: sft(completion_logprobs(model, pack).values)
        )
        values = loop.optim_step()
        if loop.step % 50 == 0 or loop.step == loop.steps:
            say(f"tiny: step {loop.step} of {loop.steps}, loss {values['loss']:.3f}, {time.monotonic() - began:.0f} s")
    model.eval()
