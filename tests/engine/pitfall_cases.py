"""Small models and rows for the tests of pitfalls."""

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.engine.chats import render_chat
from training.engine.packs import Row
from training.engine.rows import row_of_chat

ASK = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]
ANSWERS = ["Open the flap. Pour in fresh water 💧 please.", "No.", "Open the flap, if there is one.", "Well."]


def row(policy, name="r", answer=ANSWERS[0]):
    return row_of_chat(name, render_chat(policy.tokenizer, ASK, response=answer))


def group(policy):
    return [row(policy, f"answer {place}", text) for place, text in enumerate(ANSWERS)]


def stir(parameters, std=0.05, seed=0):
    torch.manual_seed(seed)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=std)


def small_model(seed=0):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"eos_token_id": 2, "pad_token_id": 2}  # padding is the end of sequence, as in most models people bring
    return LlamaForCausalLM(LlamaConfig(vocab_size=97, initializer_range=0.2, **sizes, **ends)).eval()


def small_rows(count=8, seed=0):
    chance = random.Random(seed)
    found = []
    for place in range(count):
        prompt, answer = chance.randint(1, 9), chance.randint(1, 12)
        ids = [chance.randrange(3, 97) for _ in range(prompt + answer)]
        found.append(Row(f"row {place}", ids, [False] * prompt + [True] * answer))
    return found
