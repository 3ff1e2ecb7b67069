"""What a project's home says: what waits, what came in, what is training, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID

from django.db.models import Count, Model, Value
from django.db.models.functions import TruncDate
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from annotation.actions.dealing import left_for
from annotation.models import (
    Assignment,
    Choice,
    Critique,
    Outcome,
    Preference,
    Ranking,
    Rating,
    Reaction,
    Response,
    Rewrite,
    SpanCritique,
    Task,
)
from annotation.models.campaigns import TaskKind
from redpen.accounts.models import Membership, Project, User
from redpen.accounts.rules import may
from training.models import ModelVersion, Run
from training.models.runs import ENDED

DAYS = 14
KINDS: Mapping[str, type[Model]] = {
    "marked phrases": SpanCritique,
    "comparisons": Preference,
    "words on answers": Critique,
    "reactions": Reaction,
    "rewrites": Rewrite,
    "rankings": Ranking,
    "choices": Choice,
    "ratings": Rating,
    "outcomes": Outcome,
}


@dataclass(frozen=True)
class Waiting:
    """Work of one kind. `left` counts what this person can still be given, `held` what is on their desk."""

    kind: str
    noun: str
    verb: str
    url: str
    left: int
    held: int

    @property
    def total(self) -> int:
        return self.left + self.held

    @property
    def title(self) -> str:
        one, more = self.noun.split(",")
        return f"{one if self.total == 1 else more} {self.verb}"


@dataclass(frozen=True)
class CameIn:
    kind: str
    by_day: list[int]

    @property
    def total(self) -> int:
        return sum(self.by_day)

    @property
    def today(self) -> int:
        return self.by_day[-1]

    @property
    def bars(self) -> list[dict[str, int]]:
        """Of an SVG 140 x 24: each day's bar, at least one pixel where anything came."""
        most = max(self.by_day) or 1
        heights = [round(22 * n / most) if n == 0 else max(1, round(22 * n / most)) for n in self.by_day]
        return [{"x": 10 * i, "y": 24 - height, "height": height} for i, height in enumerate(heights)]


@dataclass(frozen=True)
class Step:
    """A step of the loop. `url` is None where this role cannot take it."""

    title: str
    text: str
    done: bool
    url: str | None
    action: str


@dataclass(frozen=True)
class Home:
    waiting: list[Waiting]
    came_in: list[CameIn]
    days: list[date]
    runs: list[Run]
    steps: list[Step] = field(default_factory=list)

    @property
    def going_on(self) -> bool:
        """Whether what the page says of training will change by itself."""
        return any(run.state not in ENDED for run in self.runs)

    @property
    def next_step(self) -> Step | None:
        return next((step for step in self.steps if not step.done), None)


def home_of(project: Project, user: User, role: str) -> Home:
    today = timezone.now().date()
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    return Home(
        waiting=waiting_for(project, user) if may(role, "label") else [],
        came_in=came_in(project, days, author=None if may(role, "records.see") else user),
        days=days,
        runs=recent_runs(project) if may(role, "training.see") else [],
        steps=steps_of(project, role),
    )


def waiting_for(project: Project, user: User) -> list[Waiting]:
    pages = [
        (TaskKind.SPANS, "answer,answers", "to mark", "label"),
        (TaskKind.PAIR, "pair,pairs", "to compare", "pair"),
    ]
    return [
        Waiting(
            kind=kind,
            noun=noun,
            verb=verb,
            url=reverse(page, args=[project.slug]),
            left=left_for(user=user, project=project, kind=kind),
            held=Assignment.objects.filter(
                project=project, user=user, state=Assignment.State.HELD, task__kind=kind, task__state=Task.State.OPEN
            ).count(),
        )
        for kind, noun, verb, page in pages
    ]


def came_in(project: Project, days: list[date], *, author: User | None) -> list[CameIn]:
    """Live records of the last days by kind, of `author` only where given; the kinds of which any came."""
    parts = []
    for kind, model in KINDS.items():
        # Ids are UUIDv7: this is a range of the index on (project, id).
        rows = model.objects.filter(project=project, id__gte=first_id_of(days[0]), ended_at=None, test=False)
        if author is not None:
            rows = rows.filter(author=author)
        counted = rows.annotate(of=Value(kind), day=TruncDate("created_at")).order_by().values("of", "day")
        parts.append(counted.annotate(n=Count("pk")).values_list("of", "day", "n"))
    counts = {(kind, day): n for kind, day, n in parts[0].union(*parts[1:], all=True)}
    found = [CameIn(kind, [counts.get((kind, day), 0) for day in days]) for kind in KINDS]
    return [one for one in found if one.total]


def first_id_of(day: date) -> UUID:
    """The smallest UUIDv7 of that day (UTC)."""
    milliseconds = (day - date(1970, 1, 1)).days * 86_400_000
    return UUID(int=milliseconds << 80)


def recent_runs(project: Project, limit: int = 5) -> list[Run]:
    return list(Run.objects.filter(project=project).select_related("produced").order_by("-id")[:limit])


def steps_of(project: Project, role: str) -> list[Step]:
    """The loop in five steps, each with whether it was done here and where this role does it."""
    slug = project.slug

    def exists(model: type[Model], **where: object) -> bool:
        return model.objects.filter(project=project, **where).exists()

    def step(title: str, text: str, done: bool, page: str, action: str, words: str) -> Step:
        return Step(title, text, done, address(page, slug) if may(role, action) else None, words)

    pairs = Task.objects.filter(project=project, kind=TaskKind.PAIR).exists()
    steps = [
        step(
            "Bring answers",
            "Import prompts and answers that a model gave: a JSONL file, or one of the known formats.",
            exists(Response, test=False),
            "import",
            "records.import",
            "Import answers",
        ),
        step(
            "Say what is wrong with them",
            "Mark phrases and say why. Some twenty marked answers are enough for a first try.",
            exists(SpanCritique, test=False),
            "label",
            "label",
            "Mark answers",
        ),
        step(
            "Compare answers",
            "Say which of two answers to the same prompt is better.",
            exists(Preference, test=False),
            "pair",
            "label",
            "Compare two answers",
        ),
        step(
            "Train a reward model",
            "It learns from the marks and says, token by token, what people would mark in an answer they never saw.",
            exists(ModelVersion, kind="span_reward_model"),
            "train",
            "training.run",
            "Train",
        ),
        step(
            "Train the model on its judgement",
            "The model writes, the reward model chooses, and its new answers come back here to be marked.",
            exists(ModelVersion, kind="policy"),
            "train",
            "training.run",
            "Train",
        ),
    ]
    return [one for one in steps if pairs or one.title != "Compare answers"]


def address(page: str, slug: str) -> str | None:
    try:
        return reverse(page, args=[slug])
    except NoReverseMatch:
        return None


@dataclass(frozen=True)
class Mine:
    """A project of somebody's, and the work that waits for them there."""

    project: Project
    role: str
    waiting: int


def projects_of(user: User) -> list[Mine]:
    memberships = Membership.objects.filter(user=user).select_related("project").order_by("project__name")
    return [
        Mine(
            project=one.project,
            role=one.get_role_display(),
            waiting=sum(work.total for work in waiting_for(one.project, user)) if may(one.role, "label") else 0,
        )
        for one in memberships
    ]
