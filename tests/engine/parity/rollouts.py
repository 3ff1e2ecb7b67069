"""One frozen set of completions that both sides replay, and TRL's trainers of policies made to generate just these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trl.trainer.utils import split_tensor_dict

from tests.engine.parity import ours, peer
from tests.engine.parity.peer import Step, gradients_of
from tests.engine.parity.start import Start
from training.engine.packs import Row, micro_batches
from training.engine.policy import Policy
from training.engine.tokens import render_chat

GROUP, LONGEST = 4, 12
QUESTIONS = ["Where is my parcel?", "What do repairs cost?"]
# Of each completion its length without the stop token; the last of each question's is cut before it had one.
LENGTHS = [[5, 0, 9, LONGEST], [7, 2, 3, LONGEST]]
REWARDS = [[1.0, 0.0, 0.5, 0.0], [0.25, None, 1.5, -1.0]]  # None: nobody could judge it
RECORDS = [{"prompt": [{"role": "user", "content": question}]} for question in QUESTIONS]


@dataclass(frozen=True)
class Sampled:
    """A completion and what is known of it."""

    prompt: Sequence[int]
    ids: Sequence[int]
    reward: float | None

    @property
    def truncated(self) -> bool:
        return len(self.ids) == LONGEST


def freeze(tokenizer: Any) -> list[list[Sampled]]:
    """A group for each question. One completion begins with all of another: the forest shares it."""
    made = torch.Generator().manual_seed(3)
    groups = []
    for question, lengths, rewards in zip(RECORDS, LENGTHS, REWARDS, strict=True):
        prompt = render_chat(tokenizer, question["prompt"], response=None).ids
        words = torch.randint(5, len(tokenizer), (LONGEST,), generator=made).tolist()
        group = []
        for number, (length, reward) in enumerate(zip(lengths, rewards, strict=True)):
            text = words[:length] if number % 2 == 0 else torch.randint(5, 300, (length,), generator=made).tolist()
            ids = text if length == LONGEST else [*text, tokenizer.eos_token_id]
            group.append(Sampled(prompt, ids, reward))
        groups.append(group)
    return groups


def flat(groups: Sequence[Sequence[Sampled]]) -> list[Sampled]:
    return [sample for group in groups for sample in group]


def rewards_of(groups: Sequence[Sequence[Sampled]]) -> Tensor:
    """[Q, G], NaN where there is none."""
    return torch.tensor([[torch.nan if one.reward is None else one.reward for one in group] for group in groups])


def make_trainer(trainer: type, config: type, start: Start, folder: Path, **options: Any) -> Any:
    """A trainer that generates the frozen completions and rewards them as they were."""
    settings = peer.settings(
        config,
        folder,
        num_generations=GROUP,
        per_device_train_batch_size=GROUP * len(QUESTIONS),
        max_completion_length=LONGEST,
        shuffle_dataset=False,
        **options,
    )
    rewards: dict[tuple[int, ...], float | None] = {}

    def frozen_reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
        return [rewards[tuple(ids)] for ids in completion_ids]

    made = peer.make_trainer(trainer, start, settings, RECORDS, reward_funcs=frozen_reward)
    groups = freeze(made.processing_class)
    rewards.update({tuple(sample.ids): sample.reward for sample in flat(groups)})

    def frozen_completions(prompt_ids: Sequence[Sequence[int]], *_: Any) -> Any:
        assert [list(ids) for ids in prompt_ids] == [list(sample.prompt) for sample in flat(groups)]
        ids = [list(sample.ids) for sample in flat(groups)]
        return (ids, None) if trainer.__name__ == "GRPOTrainer" else ids

    made._generate_single_turn = frozen_completions
    made.current_gradient_accumulation_steps = 1
    return made


def generate(trainer: Any) -> dict[str, Any]:
    """What TRL makes of the frozen completions before its first update: masks, advantages, references."""
    trainer.model.train()
    found: dict[str, Any] = trainer._generate_and_score_completions([row for row in RECORDS for _ in range(GROUP)])
    return found


def update(trainer: Any, inputs: dict[str, Any], *, parts: int = 1) -> Step:
    """TRL's loss on its inputs and its gradients, over `parts` accumulated micro-batches."""
    trainer.model.train()
    trainer.model.zero_grad()
    found = Step()
    with _accumulating(trainer, parts):
        for part in split_tensor_dict(inputs, parts):
            loss = trainer.compute_loss(trainer.model, part)
            loss.backward()
            found.loss += float(loss)
    found.gradients = gradients_of(trainer.model)
    trainer.model.zero_grad()
    return found


@contextmanager
def _accumulating(trainer: Any, parts: int) -> Iterator[None]:
    usual = trainer.args.steps_per_generation
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = parts
    yield
    trainer.current_gradient_accumulation_steps, trainer.args.steps_per_generation = 1, usual


def padded(values: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Per-row lists as TRL's right-padded table."""
    table = torch.zeros(like.shape)
    for row, one in enumerate(values):
        table[row, : len(one)] = torch.tensor(one)
    return table


def rows_of(
    groups: Sequence[Sequence[Sampled]],
    *,
    of_row: dict[str, Sequence[float]] | None = None,
    of_tokens: dict[str, Sequence[Sequence[float]]] | None = None,
) -> list[list[Row]]:
    """Each group as a unit; `of_row` and `of_tokens` in the order of all completions."""
    number = iter(range(sum(map(len, groups))))
    return [
        [
            Row(
                f"completion {(at := next(number))}",
                [*sample.prompt, *sample.ids],
                [False] * len(sample.prompt) + [True] * len(sample.ids),
                of_row={name: float(values[at]) for name, values in (of_row or {}).items()},
                of_tokens={name: values[at] for name, values in (of_tokens or {}).items()},
            )
            for sample in group
        ]
        for group in groups
    ]


@torch.no_grad()
def logprobs_of(
    policy: Policy, groups: Sequence[Sequence[Sampled]], *, temperature: float = 1.0, reference: bool = False
) -> list[list[float]]:
    """Of each completion's tokens, in their order."""
    found: dict[str, list[float]] = {}
    read = ours.reference_logprobs if reference else ours.logprobs
    for pack in micro_batches(rows_of(groups), tokens=64):
        values = read(policy, pack, temperature=temperature)
        for index, row in enumerate(pack.rows):
            found[row.name] = values[pack.row_of == index].tolist()
    return [found[f"completion {number}"] for number in range(len(found))]
