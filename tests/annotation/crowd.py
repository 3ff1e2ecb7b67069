"""A crowd of `benchmarks.bought_hands` as rows: its answers, what was shown, what was tapped."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from annotation.models import Prompt, ReactionKind, Response
from benchmarks.bought_hands import VERSIONS, Person, once
from redpen.accounts.ids import new_id

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
COPY = """
    COPY annotation_reaction (id, lineage, version, project_id, test, origin, agent, kind_id, response_id,
    response_external_id, external_user, event_at, retracts, end_reason, text, metadata, prefill_outcome) FROM STDIN
"""


def pour(project: Any, people: list[Person], *, test: bool = False) -> None:
    """Everything that these people did, in the order of time. The project must be furnished."""
    kinds = dict(ReactionKind.objects.filter(project=project).values_list("key", "pk"))
    done = sorted(((one, person.name) for person in people for one in once(person)), key=lambda row: row[0][2])
    answers: dict[int, Response] = {}
    prompts = []
    for (number, version, *_), _ in done:
        if number not in answers:
            digest = hashlib.sha256(f"{project.pk} {number} {test}".encode()).hexdigest()
            messages = [{"role": "user", "content": f"Question {number}?"}]
            prompt = Prompt(id=new_id(), project=project, messages=messages, content_hash=digest, split="train")
            prompts.append(prompt)
            answers[number] = Response(
                id=new_id(), project=project, prompt=prompt, text="A.", model=VERSIONS[version], test=test
            )
    Prompt.objects.bulk_create(prompts, batch_size=2000)
    Response.objects.bulk_create(answers.values(), batch_size=2000)
    with connection.cursor() as cursor:
        with cursor.copy(COPY) as copy:
            for (number, _, seconds, kind, text), name in done:
                for key in filter(None, ("shown", kind)):
                    pk, at = new_id(), BEGIN + timedelta(seconds=seconds)
                    said = text if key != "shown" else ""
                    about = (project.pk, test, "human", "key:shop", kinds[key], answers[number].pk)
                    copy.write_row((pk, pk, 1, *about, "", name, at, False, "", said, "{}", ""))
        # an intake that has run for a while is known to the planner
        cursor.execute("ANALYZE")
