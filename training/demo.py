"""Stores the demo's content (`training.worlds.demo`) as a project: by the same actions as everything else, in bulk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from annotation.actions import building
from annotation.actions.batches import record_submitted, store_records, tasks_of
from annotation.actions.campaigns import furnish
from annotation.actions.labels import NewLabel
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, NewResponse, add_prompts, add_responses
from annotation.actions.tasks import create_tasks
from annotation.models import Campaign, Label, Origin, Prompt, ReactionKind, Response
from redpen.accounts import audit, registry
from redpen.accounts.demo import DEMO_LOGINS
from redpen.accounts.models import Membership, Project, User
from training.actions.runs import Launch, launch_run
from training.models import Run
from training.worlds.demo import PREPARED, PREPARED_BASE, DemoContent

SLUG = "demo"
Told = Callable[[str], None]


def demo_people() -> dict[str, User]:
    """One user for each role, by role; their passwords are public."""
    people = {}
    for login in DEMO_LOGINS:
        user = User.objects.filter(email__iexact=login.email).first()
        people[login.role] = user or User.objects.create_user(login.email, login.password, name=login.name)
    return people


def demo_project(content: DemoContent) -> Project:
    """The project with its members, labels and campaign; made once."""
    people = demo_people()
    project, made = Project.objects.get_or_create(
        slug=SLUG,
        defaults={
            "name": content.project,
            "is_demo": True,
            "description": "Made up by a program: customers' questions, two models' answers, and what people said. A "
            "span reward model learns from their marks right after the first start: run 1.",
        },
    )
    for role, user in people.items():
        Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    if made:
        audit.record("project.created", project=project, actor=people["admin"], subject=project)
    furnish(
        project=project,
        actor=people["admin"],
        guidelines=content.guidelines,
        labels=[
            NewLabel(
                key=label.key,
                name=label.name,
                sentiment=label.sentiment,
                description=label.description,
                shortcut=label.shortcut,
            )
            for label in content.labels
        ],
        reaction_kinds=[(kind.key, kind.name, kind.polarity) for kind in content.reaction_kinds],
    )
    if made:
        registry.project_created(project, people["admin"])
    return project


@transaction.atomic
def fill_demo(content: DemoContent, *, tell: Told = lambda line: None) -> dict[str, int]:
    """All of it, or nothing. Filling again adds nothing; how many of each kind are new."""
    tell("people, labels, guidelines")
    project = demo_project(content)
    filling = Filling(project, content)
    tell(f"{len(content.prompts)} prompts and {len(content.responses)} answers")
    added = {"prompts": filling.prompts(), "responses": filling.responses()}
    tell(f"{len(content.reviews)} readings, {len(content.preferences)} comparisons")
    # the marks last: what came last stands on top of the list of records
    added["records"] = filling.reactions() + filling.rewrites() + filling.preferences() + filling.reviews()
    tell("work for the newcomer")
    added["tasks"] = filling.open_tasks()
    return added


def prepare_model(project: Project) -> Run:
    """Have the worker train a span reward model from the demo's marks: an ordinary run, with its records frozen, its
    figures on held-out answers and its options on its page. Asked once; asking again gives the same run.
    """
    launch = Launch(recipe="span_reward_model", base_model=PREPARED_BASE, name=PREPARED)
    run, _ = launch_run(project=project, author=None, launch=launch, client_key="demo:prepared-model")
    return run


class Filling:
    """One run of `fill_demo`: the keys of the content and the rows they stand for."""

    def __init__(self, project: Project, content: DemoContent) -> None:
        self.project, self.content = project, content
        self.author = Author.program("redpen:demo")
        self.campaign = Campaign.objects.filter(project=project).order_by("id")[0]
        self.labels = {row.key: row for row in Label.objects.filter(project=project)}
        self.prompt: dict[str, Prompt] = {}
        self.response: dict[str, Response] = {}

    def ago(self, minutes: int) -> datetime:
        """Counted from when the project was made, so that a second filling says the same."""
        return self.project.created_at - timedelta(minutes=minutes)

    def prompts(self) -> int:
        new = [
            NewPrompt(messages=one.messages, context=one.context, metadata=one.metadata, external_id=f"demo:{one.key}")
            for one in self.content.prompts
        ]
        stored, added = add_prompts(author=self.author, project=self.project, new=new)
        self.prompt = {one.key: row for one, row in zip(self.content.prompts, stored, strict=True)}
        return added

    def responses(self) -> int:
        new = [
            NewResponse(
                prompt=self.prompt[one.prompt],
                text=one.text,
                model=one.model,
                external_id=f"demo:{one.key}",
                more={"created_at": self.ago(one.minutes_ago)},
            )
            for one in self.content.responses
        ]
        stored, added = add_responses(author=self.author, project=self.project, new=new)
        self.response = {one.key: row for one, row in zip(self.content.responses, stored, strict=True)}
        return added

    def reviews(self) -> int:
        """Each reading is a submitted piece of work with its marks, its words and a number."""
        opinions: dict[str, int] = {}
        for review in self.content.reviews:
            opinions[review.response] = opinions.get(review.response, 0) + 1
        for wanted in sorted(set(opinions.values())):
            keys = [key for key, count in opinions.items() if count == wanted]
            self.ask(responses=[self.response[key] for key in keys], wanted=wanted)
        tasks = tasks_of(self.campaign)
        done = record_submitted(
            author=self.author,
            campaign=self.campaign,
            work=[
                (tasks[self.response[one.response].pk, None], agent(one.annotator), self.ago(one.minutes_ago))
                for one in self.content.reviews
            ],
        )
        rows: list[Any] = []
        for one in self.content.reviews:
            response = self.response[one.response]
            task = tasks[response.pk, None]
            about = self.about(one, done[task.pk, agent(one.annotator)])
            key = f"demo:{one.response}:{one.annotator}"
            for number, mark in enumerate(one.marks):
                label = self.labels[mark.label]
                said = building.judgement(
                    label=label,
                    sentiment=mark.sentiment,
                    severity=mark.severity,
                    critique=mark.critique,
                    replacement=mark.replacement or None,
                )
                where = {"start": mark.start, "end": mark.end, "quote": mark.quote}
                rows.append(building.span(response=response, said=said, client_key=f"{key}:{number}", **where, **about))
            verdict = "good" if one.verdict >= 0.5 else "bad"
            rows.append(building.critique(response=response, text=one.words, verdict=verdict, client_key=key, **about))
            rows.append(
                building.rating(response=response, dimension="quality", value=one.verdict, client_key=key, **about)
            )
        return self.store(rows)

    def preferences(self) -> int:
        pairs = {one: (self.response[one.a], self.response[one.b]) for one in self.content.preferences}
        self.ask(pairs=list(pairs.values()))
        tasks = tasks_of(self.campaign)
        done = record_submitted(
            author=self.author,
            campaign=self.campaign,
            work=[
                (tasks[a.pk, b.pk], agent(one.annotator), self.ago(one.minutes_ago)) for one, (a, b) in pairs.items()
            ],
        )
        rows = []
        for one, (a, b) in pairs.items():
            choice = one.choice
            compared = building.Compared(
                choice=choice.choice, strength=min(max(choice.strength, 1), 3), reason=choice.reason
            )
            about = self.about(one, done[tasks[a.pk, b.pk].pk, agent(one.annotator)])
            rows.append(building.preference(a=a, b=b, compared=compared, client_key=f"demo:{one.a}:{one.b}", **about))
        return self.store(rows)

    def rewrites(self) -> int:
        new = [
            NewResponse(
                prompt=self.response[one.response].prompt,
                text=one.text,
                origin=Origin.PROGRAM,
                external_id=f"demo:{one.response}:{one.annotator}:better",
                metadata={"by": agent(one.annotator)},
                more={"parent": self.response[one.response], "created_at": self.ago(one.minutes_ago)},
            )
            for one in self.content.rewrites
        ]
        better, _ = add_responses(author=self.author, project=self.project, new=new)
        return self.store(
            [
                building.rewrite(
                    response=self.response[one.response],
                    better=text,
                    client_key=f"demo:{one.response}:{one.annotator}",
                    **self.about(one),
                )
                for one, text in zip(self.content.rewrites, better, strict=True)
            ]
        )

    def reactions(self) -> int:
        kinds = {kind.key: kind for kind in ReactionKind.objects.filter(project=self.project)}
        return self.store(
            [
                building.reaction(
                    author=Author.program("redpen:demo"),
                    kind=kinds[one.kind],
                    response=self.response[one.response],
                    external_user=one.user,
                    event_at=self.ago(one.minutes_ago),
                    client_key=f"demo:{one.response}:{one.kind}:{one.user}",
                )
                for one in self.content.reactions
            ]
        )

    def open_tasks(self) -> int:
        """What is left for the newcomer: the best answers to begin with come first."""
        added = 0
        for number, key in enumerate(self.content.to_label):
            first = 2.0 if number == 0 else 1.0 if number < 12 else 0.0
            if first:
                added += self.ask(responses=[self.response[key]], priority=first - number / 100)
        added += self.ask(responses=[self.response[key] for key in self.content.to_label])
        return added + self.ask(pairs=[(self.response[a], self.response[b]) for a, b in self.content.to_compare])

    def ask(self, **what: Any) -> int:
        return create_tasks(author=self.author, campaign=self.campaign, **what)

    def about(self, one: Any, assignment: Any = None) -> dict[str, Any]:
        return {
            "author": Author.program(agent(one.annotator)),
            "said_at": self.ago(one.minutes_ago),
            **({"assignment": assignment} if assignment else {}),
        }

    def store(self, rows: list[Any]) -> int:
        return store_records(author=self.author, project=self.project, rows=rows)[1]


def agent(name: str) -> str:
    return f"sim:{name.lower()}"
