"""raft in the digit world (../shared/methods/raft.md, acceptance b): a table of logits writes four digits.

A prompt is (a, b) in 0..9, the right answer y_t = (a + t b) mod 10; the reference writes the right digit with
probability .55 +- .15. The reward is the number of right digits and an offset of the prompt in [-4.5, 4.5]. 12 rounds
of 256 prompts, two epochs, batches of 64, AdamW at .05: the recipe's ranking, the engine's likelihood, and a policy
whose chance to be right is known exactly, so that nothing but the method has noise. Prompts whose answers all score the
same keep their first (`equals = keep`, as the card's figures were measured); “skipped” is the recipe's default.

    K 2, 4, 8, 16     raft with so many answers a prompt       one round, one long round     12 epochs' worth in one
    global            the best 1/8 of all answers (`top`)      beta .5                       with the KL in the ranking
    noise 1, 3        a reward with so much noise

    python -m benchmarks.raft_digits       the last line is one JSON object
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.harness import finish, interval, paired, say
from training.engine import objectives
from training.recipes import ranking

LENGTH, PROMPTS, BATCH, LR = 4, 256, 64, 0.05


@dataclass(frozen=True)
class Setting:
    """What a run differs in."""

    samples: int = 8
    rounds: int = 12
    epochs: int = 2
    top: bool = False
    beta: float = 0.0
    noise: float = 0.0
    equals: bool = True


SETTINGS = {
    "K 2": Setting(samples=2),
    "K 4": Setting(samples=4),
    "K 8": Setting(),
    "K 16": Setting(samples=16),
    "one round": Setting(rounds=1),
    "one long round": Setting(rounds=1, epochs=24),
    "global": Setting(top=True),
    "beta .5": Setting(beta=0.5),
    "K 2, skipped": Setting(samples=2, equals=False),
    "K 8, skipped": Setting(equals=False),
    "noise 1": Setting(noise=1.0),
    "noise 3": Setting(noise=3.0),
}


class Table:
    """The world of one seed and its policy, a table of logits [10, 10, 4, 10]."""

    def __init__(self, seed: int) -> None:
        self.made = torch.Generator().manual_seed(seed)
        digits, steps = torch.arange(10), torch.arange(LENGTH)
        self.right = (digits[:, None, None] + steps * digits[None, :, None]) % 10  # [10, 10, 4]
        certainty = 0.55 + 0.15 * (2 * torch.rand(10, 10, LENGTH, generator=self.made) - 1)
        one_hot = torch.nn.functional.one_hot(self.right, 10)
        self.reference = (certainty[..., None] * one_hot + (1 - certainty[..., None]) / 9 * (1 - one_hot)).log()
        self.offset = 9 * torch.rand(10, 10, generator=self.made) - 4.5
        self.policy = self.reference.clone().requires_grad_()

    def sample(self, prompts: Tensor, n: int) -> Tensor:
        """[P, n, 4]"""
        chances = self.policy.detach()[prompts[:, 0], prompts[:, 1]].softmax(-1)
        drawn = torch.multinomial(chances.flatten(0, 1), n, replacement=True, generator=self.made)
        return drawn.view(len(prompts), LENGTH, n).transpose(1, 2)

    def logprobs(self, logits: Tensor, prompts: Tensor, answers: Tensor) -> Tensor:
        """Of each digit: prompts [P, 2], answers [P, ..., 4] -> the answers' shape."""
        of_prompts = logits[prompts[:, 0], prompts[:, 1]].log_softmax(-1)
        while of_prompts.dim() < answers.dim() + 1:
            of_prompts = of_prompts.unsqueeze(1)
        return of_prompts.expand(*answers.shape, 10).gather(-1, answers[..., None])[..., 0]

    def reward(self, prompts: Tensor, answers: Tensor, noise: float) -> Tensor:
        """[P, n]: right digits, the prompt's offset, and noise."""
        hits = (answers == self.right[prompts[:, 0], prompts[:, 1]][:, None]).sum(-1).float()
        found = hits + self.offset[prompts[:, 0], prompts[:, 1]][:, None]
        return found + noise * torch.randn(found.shape, generator=self.made)

    def exact_match(self, logits: Tensor) -> float:
        """The chance of a right answer, exactly."""
        return float(logits.detach().softmax(-1).gather(-1, self.right[..., None])[..., 0].prod(-1).mean())

    def best_of(self, n: int) -> float:
        """The chance that one of n answers of the reference is right."""
        chance = self.reference.softmax(-1).gather(-1, self.right[..., None])[..., 0].prod(-1)
        return float((1 - (1 - chance) ** n).mean())

    def kl(self) -> float:
        """KL(policy || reference) in nats an answer, the mean over prompts, exactly."""
        now, then = self.policy.detach().log_softmax(-1), self.reference.log_softmax(-1)
        return float((now.exp() * (now - then)).sum((-1, -2)).mean())


def trained(seed: int, setting: Setting) -> dict[str, float]:
    """Raft's rounds on a table."""
    table = Table(seed)
    for _ in range(setting.rounds):
        prompts, answers = kept(table, setting)
        optimizer = torch.optim.AdamW([table.policy], lr=LR)
        for _ in range(setting.epochs):
            for batch in torch.randperm(len(prompts), generator=table.made).split(BATCH):
                values = table.logprobs(table.policy, prompts[batch], answers[batch]).flatten()
                loss = objectives.sft(values)
                optimizer.zero_grad()
                (loss.total / loss.count).backward()
                optimizer.step()
    return {"exact": table.exact_match(table.policy), "kl": table.kl()}


def kept(table: Table, setting: Setting) -> tuple[Tensor, Tensor]:
    """A round's prompts [M, 2] and answers [M, 4] that are learned."""
    count, n = (PROMPTS * setting.samples, 1) if setting.top else (PROMPTS, setting.samples)
    prompts = torch.randint(0, 10, (count, 2), generator=table.made)
    answers = table.sample(prompts, n)
    worth = table.reward(prompts, answers, setting.noise)
    if setting.beta:
        gap = table.logprobs(table.policy, prompts, answers) - table.logprobs(table.reference, prompts, answers)
        worth = worth - setting.beta * gap.detach().sum(-1)
    rewards = worth.tolist()
    places = (
        ranking.top(rewards, one_in=setting.samples)
        if setting.top
        else [ranking.best(row, equals=setting.equals) for row in rewards]
    )
    chosen = [(prompt, place) for prompt, found in enumerate(places) for place in found]
    rows, columns = (torch.tensor(one) for one in zip(*chosen, strict=True))
    return prompts[rows], answers[rows, columns]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 21))
    parser.add_argument("--first-seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    began, seeds = time.monotonic(), range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    found = {name: [trained(seed, setting) for seed in seeds] for name, setting in SETTINGS.items()}
    exact = {name: [run["exact"] for run in runs] for name, runs in found.items()}
    exact["reference"] = [Table(seed).exact_match(Table(seed).reference) for seed in seeds]
    exact["best of 8"] = [Table(seed).best_of(8) for seed in seeds]
    kl = {name: statistics.mean(run["kl"] for run in runs) for name, runs in found.items()}
    for name, values in exact.items():
        told = interval(values)
        far = f"   KL {kl[name]:.2f}" if name in kl else ""
        print(f"{name:16} {told['mean']:.3f} ({told['low']:.3f} to {told['high']:.3f}){far}")
    eight = exact["K 8"]
    ahead = {name: paired(eight, values) for name, values in exact.items() if name != "K 8"}
    order = all(a < b < c < d for a, b, c, d in zip(*(exact[f"K {k}"] for k in (2, 4, 8, 16)), strict=True))
    holds = {
        "K 8 > .95 > best of 8": min(eight) > 0.95 > max(exact["best of 8"]),
        "more answers are better, in every seed": order,
        "global < .4": max(exact["global"]) < 0.4,
        "one long round < best of 8, in every seed": all(
            map(float.__lt__, exact["one long round"], exact["best of 8"])
        ),
        "noise 3 > .85": min(exact["noise 3"]) > 0.85,
    }
    for claim, true in holds.items():
        print(f"{'holds' if true else 'DOES NOT HOLD'}: {claim}")
    say(f"{time.monotonic() - began:.0f} s")
    finish(exact={name: interval(values) for name, values in exact.items()}, k8_minus=ahead, kl=kl, holds=holds)


if __name__ == "__main__":
    main()
