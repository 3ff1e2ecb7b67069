"""A snapshot of what simulated people said of whole answers in the demo world: every kind of row that recipes read."""

from __future__ import annotations

import json
import random

from training.worlds.demo import MODELS
from training.worlds.people import cast

KINDS = ("preference", "ranking", "choice", "rating", "verdict", "reaction", "rewrite", "demonstration", "response")


def write_judged(folder, world, count, *, seed=1, kinds=KINDS, split=None, answers=4):
    """Several answers to each of `count` prompts, and what one person says of them."""
    chance = random.Random(seed)
    people = cast(world)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for prompt in world.prompts(count, seed=seed, **({"split": split} if split else {})):
            person = people[chance.choice(["Ines", "Bao", "Olu"])]
            for row in said(world, prompt, person, chance, answers):
                if row["kind"] in kinds:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "manifest.json").write_text('{"labels": []}')
    return folder


def said(world, prompt, person, chance, count):
    rates = list(MODELS.values())
    texts = [world.answer(prompt, chance, rates[number % 2]).text for number in range(count)]
    answers = [{"response_id": f"{prompt.id}:{number}", "text": text} for number, text in enumerate(texts)]

    def row(kind, record, **fields):
        asked = {"split": prompt.split, "prompt_id": prompt.id, "messages": list(prompt.messages)}
        return {
            **asked,
            "context": list(prompt.context),
            "kind": kind,
            "records": [f"{kind} of {prompt.id}:{record}"],
            **fields,
        }

    verdicts = [person.verdict(prompt, text, chance)[0] for text in texts]
    choice = person.compare(prompt, texts[0], texts[1], chance)
    yield row(
        "preference",
        0,
        a=answers[0],
        b=answers[1],
        choice=choice.choice,
        strength=max(1, choice.strength),
        dimension="",
    )
    steps = sorted({round(5 * verdict) for verdict in verdicts}, reverse=True)
    places = [{**answer, "place": 1 + steps.index(round(5 * v))} for answer, v in zip(answers, verdicts, strict=True)]
    yield row("ranking", 0, answers=sorted(places, key=lambda one: one["place"]), dimension="")
    best = max(range(count), key=lambda number: verdicts[number])
    yield row("choice", 0, answers=answers, chosen=answers[best]["response_id"] if verdicts[best] > 0.2 else None)
    for number, (answer, verdict) in enumerate(zip(answers, verdicts, strict=True)):
        yield row("rating", number, **answer, dimension="quality", value=verdict)
        yield row("verdict", number, **answer, verdict="good" if verdict >= 0.5 else "bad", words="")
        quality = world.true_quality(prompt, answer["text"])
        tapped = chance.random() < 0.7
        liked = chance.random() < 0.05 + 0.9 * quality
        keys = ["shown", "like" if liked else "dislike"] if tapped else ["shown"]
        yield row(
            "reaction",
            number,
            **answer,
            polarity=1 if tapped and liked else -1,
            silent=not tapped,
            reactions=keys,
        )
        marks = person.mark(prompt, answer["text"], chance)
        spans = [{"start": one.start, "end": one.end, "sentiment": one.sentiment, "label": one.label} for one in marks]
        yield row("response", number, **answer, spans=spans, reviewed=True)
    better = person.rewrite(prompt, texts[0], chance)
    if better != texts[0]:
        yield row("rewrite", 0, **answers[0], better={"response_id": f"{prompt.id}:better", "text": better})
    written = world.clean_answer(prompt, chance).text
    yield row("demonstration", 0, response_id=f"{prompt.id}:by hand", text=written)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def with_rows(folder, rows):
    """A snapshot's folder that holds just these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    (folder / "manifest.json").write_text('{"labels": []}')
    return folder


def write_own_answers(folder, world, base, count, *, seed=1, samples=4):
    """Rankings of answers that the base itself wrote, with the tokens it sampled: what a team's first round makes."""
    from training.engine.policy import Policy
    from training.engine.rollouts import Sampling, sample
    from training.engine.scoring import prompt_ids

    chance = random.Random(seed)
    people = cast(world)
    policy = Policy.open(base, None)
    prompts = world.prompts(count, seed=seed)
    ids = [prompt_ids(policy.tokenizer, one.messages, [], passage_tokens=0) for one in prompts]
    drawn = sample(policy, ids, samples, sampling=Sampling(max_tokens=120, temperature=0.9), seed=seed)
    rows = []
    for number, prompt in enumerate(prompts):
        own = [one for one in drawn if one.prompt == number and one.text.strip()]
        person = people[chance.choice(["Ines", "Bao", "Olu"])]
        felt = [round(5 * person.verdict(prompt, one.text, chance)[0]) for one in own]
        steps = sorted(set(felt), reverse=True)
        answers = [
            {
                "response_id": f"{prompt.id}:{one.seed}",
                "text": one.text,
                "token_ids": list(one.ids),
                "place": 1 + steps.index(feeling),
            }
            for one, feeling in zip(own, felt, strict=True)
        ]
        rows.append(
            {
                "split": prompt.split,
                "kind": "ranking",
                "prompt_id": prompt.id,
                "messages": list(prompt.messages),
                "context": list(prompt.context),
                "answers": sorted(answers, key=lambda one: one["place"]),
                "dimension": "",
                "records": [f"ranking of {prompt.id}"],
            }
        )
    return with_rows(folder, rows)
