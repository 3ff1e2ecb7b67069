"""Tiny random models of several families, as policies to sample from; and what plain transformers makes of them."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from training.engine.logprobs import completion_logprobs
from training.engine.packs import Row, lay_out

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # random, but far from uniform: a mistake shows
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
LAYERS = {"layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "llama_without_groups": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 4}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {}),
    "gemma": (GemmaForCausalLM, GemmaConfig, {}),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, {**LAYERS, "sliding_window": 256}),
    "gemma3_narrow": (Gemma3ForCausalLM, Gemma3TextConfig, {**LAYERS, "sliding_window": 8}),
    "mistral_narrow": (MistralForCausalLM, MistralConfig, {"sliding_window": 8}),
}
NOT_OURS = {"gemma2": (Gemma2ForCausalLM, Gemma2Config, {**LAYERS, "sliding_window": 8})}  # it caps its scores


def make_policy(family, tokenizer, *, lora=True, **options):
    """A tiny random model, with an adapter that has learned something unless `lora` is False."""
    kind, config, more = {**FAMILIES, **NOT_OURS}[family]
    attention = "eager" if family in NOT_OURS else "sdpa"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        settings = {**SIZES, **more, "vocab_size": len(tokenizer), **options}
        model = kind(config(**settings, attn_implementation=attention)).eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        if lora:
            model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.1)
    return SimpleNamespace(model=model, tokenizer=tokenizer, device=torch.device("cpu"))


def some_prompts(tokenizer, lengths, *, seed=0):
    """Random ids without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(10, len(tokenizer), (length,), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def greedy(policy, prompt, tokens):
    """The likeliest continuation, computed anew from the start for each token, without any cache."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(policy.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@torch.no_grad()
def trainers_logprobs(policy, prompts, drawn, *, temperature=1.0):
    """What the training forward says of sampled answers, one list."""
    rows = [
        Row(str(i), [*prompts[one.prompt], *one.ids], [False] * len(prompts[one.prompt]) + [True] * len(one.ids))
        for i, one in enumerate(drawn)
    ]
    return completion_logprobs(policy.model, lay_out(rows), temperature=temperature).values.tolist()
