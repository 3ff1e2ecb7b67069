"""What the recipes that sample have in common: a run's prompts as ids, answers to them, and the final policy's new
answers on their way back to the people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.packs import Row
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample, Sampling
    from training.engine.scoring import Item

TOGETHER = 512  # answers whose seeds and texts are held at one time
NAMED = 20  # records that a line of the log names, at most


@dataclass(frozen=True)
class Ask:
    """A prompt as the policy is given it."""

    prompt_id: str
    messages: Sequence[dict[str, Any]]
    context: Sequence[dict[str, Any]]
    ids: list[int]


def asks(run: RunContext, tokenizer: Any, split: str | None, *, passage_tokens: int, longest: int) -> list[Ask]:
    """The prompts of a split (None: of all) in a fixed order of chance, as ids; those longer than `longest` tokens are
    counted, named in the log and left out.
    """
    found, left_out = [], []
    for prompt in run.prompts(split):
        ask = ask_of(tokenizer, prompt, passage_tokens=passage_tokens)
        if len(ask.ids) > longest:
            left_out.append(ask.prompt_id)
        else:
            found.append(ask)
    if left_out:
        run.log(
            f"{len(left_out)} prompts are longer than {longest} tokens: {', '.join(left_out[:NAMED])}", level="warning"
        )
    run.random(f"prompts {split}").shuffle(found)
    return found


def ask_of(tokenizer: Any, prompt: Mapping[str, Any], *, passage_tokens: int) -> Ask:
    """A run's prompt as ids."""
    ids = engine.scoring.prompt_ids(tokenizer, prompt["messages"], prompt["context"], passage_tokens=passage_tokens)
    return Ask(prompt["prompt_id"], prompt["messages"], prompt["context"], ids)


def asks_to_learn_from(run: RunContext, tokenizer: Any, *, passage_tokens: int, longest: int) -> list[Ask]:
    """Those of the train split; RecipeError where there is none."""
    found = asks(run, tokenizer, "train", passage_tokens=passage_tokens, longest=longest)
    if not found:
        raise RecipeError(
            "data.empty",
            "There is no prompt in the train split that fits.",
            "Import prompts, or raise max_prompt_tokens, and make a new snapshot.",
        )
    return found


def draw(
    run: RunContext, policy: Policy, chosen: Sequence[Ask], n: int, *, sampling: Sampling, seed: int, rows: int
) -> list[list[Sample]]:
    """`n` answers to each prompt, in the prompts' order, written `rows` at a time, which changes them by no more than
    roundings; the run may be stopped whenever one has ended. No second copy of the weights is made: a training's memory
    stays that of its updates, and its steps take about a sixth longer.
    """
    backend = engine.rollouts.Own(policy, rows=rows, copies=False, heed=run.check_stop)
    groups: list[list[Sample]] = []
    together = max(1, TOGETHER // n)
    for start in range(0, len(chosen), together):
        run.check_stop()
        part = [engine.rollouts.Prompt(ask.ids) for ask in chosen[start : start + together]]
        drawn = engine.rollouts.sample_with(
            backend, part, n, sampling=sampling, seed=seed + 7919 * start, for_training=True
        )
        run.tokens_written += sum(len(one.ids) for one in drawn)
        groups += [drawn[place * n : (place + 1) * n] for place in range(len(part))]
    return groups


def row_of(name: str, ask: Ask, sample: Sample, **fields: Any) -> Row:
    """A sampled answer as a row: the very tokens that were sampled, never the text tokenised again. `fields` are the
    row's further ones (`of_tokens`, `of_row`, `weights`).
    """
    return engine.packs.Row(
        name=name,
        ids=[*ask.ids, *sample.ids],
        trained=[False] * len(ask.ids) + [True] * len(sample.ids),
        **fields,
    )


def item_of(ask: Ask, sample: Sample) -> Item:
    """A sampled answer as scorers read it."""
    return {"messages": ask.messages, "context": ask.context, "text": sample.text}


def question_of(ask: Ask) -> str:
    """What was asked last, for people."""
    return engine.passages.question_of(ask.messages)


def give_back(
    run: RunContext,
    policy: Policy,
    chosen: Sequence[Ask],
    *,
    sampling: Sampling,
    seed: int,
    rows: int,
    passage_tokens: int,
) -> None:
    """One new answer of the final policy to each of these prompts, ready to be labelled."""
    told: Mapping[str, Any] = {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "passage_tokens": passage_tokens,
    }
    for ask, (one,) in zip(chosen, draw(run, policy, chosen, 1, sampling=sampling, seed=seed, rows=rows), strict=True):
        if not one.text.strip():
            continue
        run.response(
            prompt_id=ask.prompt_id,
            text=one.text,
            token_ids=one.ids,
            logprobs=[round(value, 6) for value in one.logprobs],
            sampling={**told, "seed": one.seed, "finished": one.finished},
        )
