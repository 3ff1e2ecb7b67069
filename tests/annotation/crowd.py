"""A crowd of `benchmarks.bought_hands` as rows: its answers, what was shown, what was tapped."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from annotation.actions import building
from annotation.actions.people import Author
from annotation.models import Prompt, Reaction, ReactionKind, Response
from benchmarks.bought_hands import VERSIONS, Person, once
from redpen.accounts.ids import new_id

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)


def pour(project: Any, people: list[Person], *, test: bool = False) -> None:
    """Everything that these people did, in the order of time. The project must be furnished."""
    kinds = {kind.key: kind for kind in ReactionKind.objects.filter(project=project)}
    done = sorted(((one, person.name) for person in people for one in once(person)), key=lambda row: row[0][2])
    answers: dict[int, Response] = {}
    prompts, rows = [], []
    agent = Author(agent="key:shop")
    for (number, version, seconds, kind, text), name in done:
        if number not in answers:
            digest = hashlib.sha256(f"{project.pk} {number} {test}".encode()).hexdigest()
            messages = [{"role": "user", "content": f"Question {number}?"}]
            prompt = Prompt(id=new_id(), project=project, messages=messages, content_hash=digest, split="train")
            prompts.append(prompt)
            answers[number] = Response(
                id=new_id(), project=project, prompt=prompt, text="A.", model=VERSIONS[version], test=test
            )
        for key in ("shown", kind):
            if key:
                row = building.reaction(
                    author=agent,
                    kind=kinds[key],
                    event_at=BEGIN + timedelta(seconds=seconds),
                    response=answers[number],
                    external_user=name,
                    text=text if key != "shown" else "",
                    test=test,
                )
                row.lineage = row.id
                rows.append(row)
    Prompt.objects.bulk_create(prompts, batch_size=2000)
    Response.objects.bulk_create(answers.values(), batch_size=2000)
    Reaction.objects.bulk_create(rows, batch_size=2000)
