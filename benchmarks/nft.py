"""nft beside RFT and Dr. GRPO at equal samples on the digit world, and what mistakes alone teach, over seeds.

The experiment of the method's card. Asked for a start a and a step b, four digits are right or the answer is wrong; the
tiny base is right about one time in ten. Every side runs the recipe's own code: the same base, seeds, prompts, number
of answers (30 rounds of 32 prompts with 8 answers each, read in 4 minibatches) and no refilling. Each has the learning
rate that was best for it on a seed that is not reported (`--tune`). "rft" is nft learning from right answers alone,
which is what RAFT and rejection fine-tuning do at equal samples; "wrong" learns from wrong answers alone. Exact match
is exact: the probability of the right answer, over held-out wordings of all questions.

Second, the card's table: logits [10, 10, 4, 10] and three right digits at every place, 200 rounds of 64 x 8.

    python -m benchmarks.nft                5 seeds; the last line is one JSON object
    python -m benchmarks.nft --tune         the learning rates, on seed 101
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import finish, interval, paired, say
from training import engine
from training.engine.world_bases import ensure_world_base
from training.recipes.context import Events, RunContext
from training.recipes.registry import get
from training.worlds.registry import world

ROOT = Path(__file__).resolve().parents[1]
SHARED: dict[str, Any] = {
    "steps": 30,
    "prompts": 32,
    "samples": 8,
    "minibatches": 4,
    "max_new_tokens": 8,
    "temperature": 1.0,
    "schedule": "constant",
    "rank": 16,
    "passage_tokens": 0,
    "checker": "digits",
    "empty": 0.0,
    "held_out": 0,
    "every": 0,
    "new_answers": 0,
    "watch_answers": 0,
    "micro_batch_tokens": 4096,
    "decode_rows": 256,
}
NFT = {"tries": 0, "held_out_answers": 1}
SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "nft": ("nft", {**NFT, "lr": 1e-3}),
    "rft": ("nft", {**NFT, "learns_from": "right", "lr": 1e-3}),
    "dr_grpo": ("grpo", {"loss": "dr_grpo", "scale": "none", "lr": 1e-3}),
    "wrong": ("nft", {**NFT, "learns_from": "wrong", "lr": 1e-3}),
}
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
TUNED_ON = (101,)


def prompts_file(folder: Path) -> Path:
    """All training wordings of the world's hundred questions, as a run's prompts."""
    known = world("digits")
    path = folder / "prompts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for prompt in known.prompts(10_000, seed=0, split="train"):
            line = {"prompt_id": prompt.id, "messages": list(prompt.messages), "context": [], "split": "train"}
            file.write(json.dumps(line) + "\n")
    return path


def measured(base: Path, adapter: Path | None, *, seed: int) -> dict[str, float]:
    """The probability of the right answer over held-out questions, and the entropy of a token of own answers."""
    known, policy = world("digits"), engine.policy.Policy.open(base, adapter)
    asked = known.prompts(10_000, seed=0, split="test")
    rows = [
        engine.answers.answer_row(policy.tokenizer, one.id, one.messages, [], text=" ".join(known.right(one)))
        for one in asked
    ]
    sums: list[float] = []
    with policy.scoring() as model:
        for pack in engine.packs.micro_batches(rows, tokens=4096):
            sums += pack.sum_by_row(engine.logprobs.completion_logprobs(model, pack).values).tolist()
    ids = [engine.scoring.prompt_ids(policy.tokenizer, one.messages, [], passage_tokens=0) for one in asked]
    sampling = engine.rollouts.Sampling(max_tokens=SHARED["max_new_tokens"])
    drawn = engine.rollouts.sample(policy, ids, 4, sampling=sampling, seed=seed)
    tokens = sum(len(one.ids) for one in drawn)
    return {
        "exact": float(torch.tensor(sums).exp().mean()),
        "entropy": -sum(sum(one.logprobs) for one in drawn) / tokens,
    }


def one_run(side: str, seed: int, base: Path, folder: Path, **changes: Any) -> dict[str, float]:
    """Train one side with one seed and measure it."""
    began = time.process_time()
    recipe, options = SIDES[side]
    folder.mkdir(parents=True)
    run = RunContext(
        directory=folder,
        events=Events(folder / "events.jsonl"),
        base_model=base,
        prompts_file=prompts_file(folder),
        seed=seed,
    )
    chosen = get(recipe)
    chosen.train(run, chosen.config({**SHARED, **options, **changes}))
    found = measured(base, folder / "artifact", seed=seed)
    found["seconds"] = time.process_time() - began
    say(f"{side}, seed {seed}{changes or ''}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return found


# --- the card's table


class Table:
    """Three right digits at every place; the reference says one of them with a chance of about 0.6."""

    def __init__(self, seed: int) -> None:
        self.made = torch.Generator().manual_seed(seed)
        order = torch.rand(10, 10, 4, 10, generator=self.made).argsort(-1)
        self.right = order < 3  # [10, 10, 4, 10]
        mass = 0.6 + 0.15 * (2 * torch.rand(10, 10, 4, 1, generator=self.made) - 1)
        self.logits = torch.where(self.right, mass / 3, (1 - mass) / 7).log().requires_grad_()

    def exact(self) -> float:
        """The chance of four right digits."""
        chances = (self.logits.detach().softmax(-1) * self.right).sum(-1)
        return float(chances.prod(-1).mean())


Losses = Callable[[Tensor, Tensor, Tensor, Tensor], Any]


def tabular(seed: int, loss: Losses, *, rounds: int = 200, minibatches: int = 8) -> tuple[float, float]:
    """Exact match before and after `rounds` of 64 prompts with 8 answers each, read in minibatches; Adam at 0.02."""
    table = Table(seed)
    optimizer = torch.optim.Adam([table.logits], lr=0.02)
    before = table.exact()
    for _ in range(rounds):
        prompts = torch.randint(0, 10, (64, 2), generator=table.made).repeat_interleave(8, 0)
        chances = table.logits.detach()[prompts[:, 0], prompts[:, 1]].log_softmax(-1)
        drawn = torch.multinomial(chances.exp().flatten(0, 1), 1, generator=table.made).view(-1, 4, 1)
        hits = table.right[prompts[:, 0], prompts[:, 1]].gather(-1, drawn)[..., 0].all(-1).float()
        rate = hits.view(64, 8).mean(-1).repeat_interleave(8)
        for part in torch.arange(512).chunk(minibatches):
            asked = prompts[part]
            now = table.logits[asked[:, 0], asked[:, 1]].log_softmax(-1).gather(-1, drawn[part]).flatten()
            found = loss(now, chances[part].gather(-1, drawn[part]).flatten(), hits[part], rate[part])
            optimizer.zero_grad()
            (found.total / found.count).backward()
            optimizer.step()
    return before, table.exact()


def by_nft(now: Tensor, old: Tensor, right: Tensor, rate: Tensor, **weights: float) -> Any:
    """NFT's loss on a part of a round of the table."""
    rows = engine.ragged.Ragged.of_lengths([4] * len(right))
    return engine.objectives.nft(now, old, right, rate, rows, length=4, **weights)


def by_dr_grpo(now: Tensor, old: Tensor, right: Tensor, rate: Tensor) -> Any:
    """Dr. GRPO's."""
    rows = engine.ragged.Ragged.of_lengths([4] * len(right))
    return engine.objectives.dr_grpo(now, old, rows.spread(right - rate), rows, length=4)


TABLE: dict[str, Losses] = {
    "table_nft": by_nft,
    "table_wrong": lambda *told: by_nft(*told, positive_weight=0.0),
    "table_dr_grpo": by_dr_grpo,
}


def tune(base: Path, folder: Path) -> None:
    """Every side at every learning rate, on seeds that are not reported; the best of each is written above by hand."""
    for side in SIDES:
        for lr in RATES:
            found = [one_run(side, seed, base, folder / f"{side}-{lr}-{seed}", lr=lr)["exact"] for seed in TUNED_ON]
            print(f"{side} lr {lr:g}: exact match {sum(found) / len(found):.3f}", flush=True)


def compare(seeds: Sequence[int], base: Path, folder: Path) -> dict[str, Any]:
    """All sides over all seeds."""
    told: dict[str, Any] = {"reference": measured(base, None, seed=0)["exact"]}
    runs = {side: [one_run(side, seed, base, folder / f"{side}-{seed}") for seed in seeds] for side in SIDES}
    for side, found in runs.items():
        told[side] = {name: interval([one[name] for one in found]) for name in ("exact", "entropy", "seconds")}
    for other in ("rft", "dr_grpo"):
        for name in ("exact", "entropy"):
            told[f"nft_minus_{other}_{name}"] = paired(*([one[name] for one in runs[side]] for side in ("nft", other)))
    told["wrong_minus_reference_exact"] = interval([one["exact"] - told["reference"] for one in runs["wrong"]])
    for name, loss in TABLE.items():
        found = [tabular(seed, loss) for seed in seeds]
        told["table_reference"] = interval([before for before, _ in found])
        told[name] = interval([after for _, after in found])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11))
    parser.add_argument("--tune", action="store_true", help="find the learning rates instead")
    parser.add_argument("--bases", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var") / "base")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    base = ensure_world_base(chosen.bases, "digits", say=say)
    with tempfile.TemporaryDirectory(prefix="redpen-bench-nft-") as place:
        if chosen.tune:
            tune(base, Path(place))
            return
        told = compare(range(1, chosen.seeds + 1), base, Path(place))
    print(f"{'':28}{'exact match':>24}{'entropy of a token':>26}")
    print(f"{'reference':28}{told['reference']:>24.3f}")
    for side in SIDES:
        cells = [f"{one['mean']:.3f} ({one.get('low', 0):.3f} to {one.get('high', 0):.3f})" for one in
                 (told[side]["exact"], told[side]["entropy"])]  # fmt: skip
        print(f"{side:28}{cells[0]:>24}{cells[1]:>26}")
    finish(**told)


if __name__ == "__main__":
    main()
