"""A world as a project: its prompts, and for each seed a campaign with what simulated people said, act for act.

An act is one thing that a person does: a phrase marked, an answer read and found good, two answers compared, an answer
written again. Of every kind there are exactly as many as the budget says, so that recipes which read different kinds
are compared at the same number of acts. The people see the prompt and the text; the answers are careless ones, as the
world's tiny base writes them. Stored by the same actions as everything else; storing again adds nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from django.db import transaction
from django.utils.text import slugify

from annotation.actions import building
from annotation.actions.batches import record_submitted, store_records, tasks_of
from annotation.actions.campaigns import create_campaign, current_version, furnish
from annotation.actions.labels import NewLabel
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, NewResponse, add_prompts, add_responses
from annotation.actions.tasks import create_tasks
from annotation.models import Campaign, Label, LabelSet, Origin, Prompt, Response
from redpen.accounts import audit, registry
from redpen.accounts.models import Membership, Project, User
from training.worlds.records import labels_of
from training.worlds.registry import world as world_of

STAFF = ("Ines", "Bao", "Olu", "Pia")  # of the world's people: a team as there are many, neither lazy nor hostile
WRITER = Author.program("redpen:compare")
PROMPTS = 600  # of a world, at most
BROKEN_OFF = 0.1  # of the answers that people are shown
BREAK_OFF = ("words", "support")  # in the other worlds half an answer is no answer
NAME_LENGTH = 60


def world_project(spec: str, owner: User) -> Project:
    """The project of a world with its labels and prompts; made once, and `owner` is its admin."""
    world = world_of(spec)
    slug = f"bench-{slugify(spec.replace(':', '-').replace(',', '-').replace('=', '-'))}"[:50]
    with transaction.atomic():
        project, made = Project.objects.get_or_create(
            slug=slug,
            defaults={
                "name": f"Bench: {spec}"[:NAME_LENGTH],
                "description": f"A program's world, {spec}, to compare recipes in.",
            },
        )
        Membership.objects.get_or_create(project=project, user=owner, defaults={"role": "admin"})
        if made:
            audit.record("project.created", project=project, actor=owner, subject=project)
            labels = [
                NewLabel(key=one["key"], name=one["name"].capitalize(), sentiment=one["sentiment"])
                for one in labels_of(world)
            ]
            furnish(project=project, actor=owner, labels=labels)
            registry.project_created(project, owner)
            add_prompts(
                author=WRITER,
                project=project,
                new=[
                    NewPrompt(
                        messages=one.messages,
                        context=one.context,
                        metadata={"world": spec},
                        external_id=f"world:{one.id}",
                    )
                    for one in world.prompts(PROMPTS, seed=0)
                ],
            )
    return project


@transaction.atomic
def labelled(project: Project, spec: str, *, seed: int, acts: int, people: Mapping[str, Any] | None = None) -> Campaign:
    """The campaign in which the world's people have done `acts` of each kind for this seed. `people` are parameters
    that hold for all of them (`training.worlds.people.Annotator`).
    """
    how = "".join(f", {name} {value}" for name, value in sorted((people or {}).items()))
    name = f"{acts} acts of each kind, seed {seed}{how}"[:120]
    found = Campaign.objects.filter(project=project, name=name).first()
    if found is not None:
        return found
    campaign = create_campaign(
        author=WRITER,
        project=project,
        name=name,
        label_set=LabelSet.objects.filter(project=project).order_by("id").first(),
    )
    Work(project, campaign, world_of(spec), seed, acts, people or {}).do()
    Campaign.objects.filter(pk=campaign.pk).update(state=Campaign.State.CLOSED)  # new answers are nobody's work here
    campaign.refresh_from_db()
    return campaign


class Work:
    """One seed's acts."""

    def __init__(
        self, project: Project, campaign: Campaign, world: Any, seed: int, acts: int, people: Mapping[str, Any]
    ) -> None:
        self.project, self.campaign, self.world, self.seed, self.acts = project, campaign, world, seed, acts
        cast = world.people(**people)
        self.people = [cast[name] for name in STAFF]
        self.chance = random.Random(f"compare {seed}")
        self.labels: dict[str, Label] = {}
        for row in Label.objects.filter(project=project).order_by("id"):
            self.labels.setdefault(row.key, row)
        self._made = 0
        self._prompts: Iterator[tuple[Prompt, Any]] = iter(())

    def do(self) -> None:
        """All kinds of acts."""
        self.marks()
        self.comparisons()
        self.rewrites()

    # Answers

    def next_prompt(self) -> tuple[Prompt, Any]:
        """A stored prompt and the world's; when all were asked they come again in another order."""
        found = next(self._prompts, None)
        if found is None:
            rows = list(Prompt.objects.filter(project=self.project, external_id__startswith="world:").order_by("id"))
            pairs = [(row, self.world.prompt_from(row.messages, row.context)) for row in rows]
            self.chance.shuffle(pairs)
            self._prompts = iter([pair for pair in pairs if pair[1] is not None])
            found = next(self._prompts)
        return found

    def careless(self, prompt: Any) -> str:
        """What the world's base would write. A part of the answers breaks off somewhere, as a sampled one may: a judge
        that never saw one would take a single good word for the best answer.
        """
        text = str(self.world.answer(prompt, self.chance).text)
        words = text.split(" ")
        if self.world.name in BREAK_OFF and len(words) > 1 and self.chance.random() < BROKEN_OFF:
            return " ".join(words[: self.chance.randrange(1, len(words))])
        return text

    def stored(self, new: list[tuple[Prompt, str]], **more: Any) -> list[Response]:
        rows = []
        for prompt, text in new:
            self._made += 1
            key = f"compare:{self.campaign.pk}:{self._made}"
            rows.append(NewResponse(prompt=prompt, text=text, model="careless writer", external_id=key, **more))
        return add_responses(author=WRITER, project=self.project, new=rows)[0]

    # Acts

    def marks(self) -> None:
        """Answers are read until so many phrases are marked; one without a mark is an act as well."""
        read: list[tuple[Prompt, str, Any, list[Any]]] = []
        left = self.acts
        while left > 0:
            row, prompt = self.next_prompt()
            text, person = self.careless(prompt), self.chance.choice(self.people)
            marks = person.mark(prompt, text, self.chance)[:left]
            left -= max(1, len(marks))
            read.append((row, text, person, marks))
        responses = self.stored([(row, text) for row, text, _, _ in read])
        create_tasks(author=WRITER, campaign=self.campaign, responses=responses)
        tasks = tasks_of(self.campaign)
        work = [
            (tasks[response.pk, None], agent(person), None)
            for response, (_, _, person, _) in zip(responses, read, strict=True)
        ]
        done = record_submitted(author=WRITER, campaign=self.campaign, work=work)
        rows = []
        for response, (_, _, person, marks) in zip(responses, read, strict=True):
            task = tasks[response.pk, None]
            about = {"author": Author.program(agent(person)), "assignment": done[task.pk, agent(person)]}
            for number, mark in enumerate(marks):
                said = building.judgement(
                    label=self.labels.get(mark.label),
                    sentiment=mark.sentiment,
                    severity=mark.severity,
                    critique=mark.critique,
                    replacement=mark.replacement or None,
                )
                where = {"start": mark.start, "end": mark.end, "quote": mark.quote}
                key = f"compare:{response.pk}:{number}"
                rows.append(building.span(response=response, said=said, client_key=key, **where, **about))
        self.keep(rows)

    def comparisons(self) -> None:
        """Two careless answers each."""
        asked = [self.next_prompt() for _ in range(self.acts)]
        texts = [(row, self.careless(prompt)) for row, prompt in asked for _ in "ab"]
        responses = self.stored(texts)
        pairs = list(zip(responses[::2], responses[1::2], strict=True))
        people = [self.chance.choice(self.people) for _ in pairs]
        create_tasks(author=WRITER, campaign=self.campaign, pairs=pairs)
        tasks = tasks_of(self.campaign)
        work = [(tasks[a.pk, b.pk], agent(person), None) for (a, b), person in zip(pairs, people, strict=True)]
        done = record_submitted(author=WRITER, campaign=self.campaign, work=work)
        rows = []
        for (a, b), (_, prompt), person in zip(pairs, asked, people, strict=True):
            found = person.compare(prompt, a.text, b.text, self.chance)
            compared = building.Compared(
                choice=found.choice, strength=min(max(found.strength, 1), 3), reason=found.reason
            )
            about = {
                "author": Author.program(agent(person)),
                "assignment": done[tasks[a.pk, b.pk].pk, agent(person)],
                "client_key": f"compare:{a.pk}:{b.pk}",
            }
            rows.append(building.preference(a=a, b=b, compared=compared, **about))
        self.keep(rows)

    def rewrites(self) -> None:
        """Careless answers written again; of those in which a person finds nothing to mend others are taken."""
        found: list[tuple[Prompt, str, str, Any]] = []
        for _ in range(50 * self.acts):
            if len(found) == self.acts:
                break
            row, prompt = self.next_prompt()
            text, person = self.careless(prompt), self.chance.choice(self.people)
            better = person.rewrite(prompt, text, self.chance)
            if better != text:
                found.append((row, text, better, person))
        worse = self.stored([(row, text) for row, text, _, _ in found])
        better = self.stored([(row, text) for row, _, text, _ in found], origin=Origin.PROGRAM)
        version = current_version(self.campaign)
        self.keep(
            [
                building.rewrite(
                    response=old,
                    better=new,
                    author=Author.program(agent(person)),
                    client_key=f"compare:{old.pk}:rewrite",
                    campaign_version_id=version.pk,
                )
                for old, new, (_, _, _, person) in zip(worse, better, found, strict=True)
            ]
        )

    def keep(self, rows: list[Any]) -> None:
        store_records(author=WRITER, project=self.project, rows=rows)


def agent(person: Any) -> str:
    return f"sim:{person.name.lower()}"
