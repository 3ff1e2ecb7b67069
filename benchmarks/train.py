"""What a training step of the engine costs: `make bench-train`.

Fine-tuning a random 25M-parameter Llama by LoRA on the completions of 160 rows with lengths like those of help
conversations, on one thread. Beside it the same with plain transformers and peft: padded batches, all logits.
`_speed` is useful (trained) tokens per CPU-second, ours over theirs; `_memory` the peak above the loaded model.
Both must see the same loss in their first step. The comparison with TRL at its best comes with the engine's own issue.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks.harness import finish, say

ROWS, BATCH, VOCABULARY, RANK = 160, 16, 32_000, 16
SIDES = ("ours", "plain")


def rows() -> list[tuple[list[int], int]]:
    """(token ids, length of the prompt): prompts of 20 to 300 tokens, completions of 10 to 250, most of them short."""
    rng = random.Random(0)
    made = []
    for _ in range(ROWS):
        prompt = min(300, 20 + int(rng.lognormvariate(3.8, 0.8)))
        completion = min(250, 10 + int(rng.lognormvariate(3.6, 0.9)))
        made.append(([rng.randrange(VOCABULARY) for _ in range(prompt + completion)], prompt))
    return made


def model() -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=448,
        intermediate_size=1152,
        num_hidden_layers=5,
        num_attention_heads=7,
        num_key_value_heads=7,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    base = LlamaForCausalLM(config)
    return get_peft_model(base, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))


def batches() -> list[list[tuple[list[int], int]]]:
    made = rows()
    return [made[start : start + BATCH] for start in range(0, ROWS, BATCH)]


def ours(network: Any) -> list[float]:
    from training import engine

    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    loop = engine.loop.Loop(trained, lr=1e-4, steps=len(batches()), schedule="constant", warmup=0.0)
    losses = []
    for batch in batches():
        packed = [
            engine.packs.Row(name=str(number), ids=ids, trained=[place >= prompt for place in range(len(ids))])
            for number, (ids, prompt) in enumerate(batch)
        ]
        loop.forward_backward(
            engine.packs.micro_batches(packed, tokens=4096),
            lambda pack: engine.objectives.sft(engine.logprobs.completion_logprobs(network, pack).values),
        )
        losses.append(loop.optim_step()["loss"])
    return losses


def plain(network: Any) -> list[float]:
    import torch

    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
    losses = []
    for batch in batches():
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
        labels = ids.clone()
        for number, (row, prompt) in enumerate(batch):
            labels[number, :prompt] = -100
            labels[number, len(row) :] = -100
        loss = network(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def run_side(side: str) -> None:
    import torch

    torch.set_num_threads(1)
    network = model()
    network.train()
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    losses = {"ours": ours, "plain": plain}[side](network)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    useful = sum(len(ids) - prompt for ids, prompt in rows())
    figures = {"tokens_per_cpu_s": useful / seconds, "peak_mb": (peak - loaded) / 1024, "first_loss": losses[0]}
    print(json.dumps(figures))


def main() -> None:
    figures = {}
    for side in SIDES:
        done = subprocess.run([sys.executable, "-m", "benchmarks.train", side], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        figures[side] = json.loads(done.stdout.splitlines()[-1])
        say(f"{side:<6} {figures[side]}")
    difference = abs(figures["ours"]["first_loss"] - figures["plain"]["first_loss"])
    if difference > 1e-3:
        raise SystemExit(f"The first losses differ by {difference}: the two do not train on the same thing.")
    finish(
        sft_speed=round(figures["ours"]["tokens_per_cpu_s"] / figures["plain"]["tokens_per_cpu_s"], 2),
        sft_memory=round(figures["ours"]["peak_mb"] / figures["plain"]["peak_mb"], 3),
        sft_tokens_per_cpu_s=round(figures["ours"]["tokens_per_cpu_s"]),
        first_loss_difference=difference,
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in SIDES:
        run_side(sys.argv[1])
    else:
        main()
