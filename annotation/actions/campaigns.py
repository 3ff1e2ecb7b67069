"""Campaigns and what they ask. A version is frozen: a change of labels or guidelines that matters makes a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max

from annotation import text as texts
from annotation.actions.labels import NewLabel, create_label_set
from annotation.actions.people import Author
from annotation.errors import BadValue
from annotation.models import Campaign, CampaignVersion, LabelSet, Question, ReactionKind
from annotation.models.campaigns import TaskKind
from redpen.accounts.models import Project, User

LABEL_SET, CAMPAIGN = "Phrases", "Reading"  # the names of those that every project starts with
DEFAULT_LABELS = (
    NewLabel(name="Wrong", description="Not true, or not what the passages say."),
    NewLabel(name="Made up", description="Sounds like a fact; nothing supports it."),
    NewLabel(name="Missing", description="Something that belongs here is not said. Set it with the caret."),
    NewLabel(name="Rude", description="Unkind, mocking or impatient."),
    NewLabel(name="Rambling", description="Says nothing, repeats itself, or leads away from the question."),
    NewLabel(name="Unclear", description="Cannot be understood as it stands."),
    NewLabel(name="Well said", sentiment=1, description="True, clear and useful: more like this."),
)
GUIDELINES = (
    "Mark the phrases that are wrong, as short as makes sense, and say what kind of wrong it is. Where something is "
    "missing, put the caret there and mark it without a phrase. Mark what is especially good too. A sentence why helps "
    "the model more than a second mark. An answer without faults is submitted without marks."
)
QUESTIONS = (
    (TaskKind.SPANS, "Which phrases are wrong, and which are good?", {"severity": [1, 2, 3], "why": True}),
    (TaskKind.PAIR, "Which answer is better?", {"choices": ["left", "right", "tie", "neither"], "strength": [1, 2, 3]}),
)
SHOWN = ("shown", "Shown", 0)  # built in: shown and no tap is an answer too
REACTION_KINDS = (
    ("like", "Like", 1),
    ("love", "Love", 1),
    ("copy", "Copied", 1),
    ("dislike", "Dislike", -1),
    ("regenerate", "Asked again", -1),
)


def frozen_labels(label_set: LabelSet | None) -> list[dict[str, Any]]:
    """The labels on offer, as a version keeps them."""
    if label_set is None:
        return []
    return [
        {
            "id": str(label.pk),
            "key": label.key,
            "name": label.name,
            "sentiment": label.sentiment,
            "description": label.description,
            "shortcut": label.shortcut,
        }
        for label in label_set.labels.filter(archived_at=None)
    ]


@transaction.atomic
def create_campaign(
    *, author: Author, project: Project, name: str, label_set: LabelSet | None, guidelines: str = GUIDELINES
) -> Campaign:
    """An open campaign with version 1 and a question for each kind of task."""
    if not name.strip() or len(name) > 120:
        raise BadValue("/name", "A campaign's name has 1 to 120 characters.")
    campaign = Campaign.objects.create(project=project, name=texts.check(name, "/name"))
    add_version(author=author, campaign=campaign, label_set=label_set, guidelines=guidelines)
    author.audit("campaign.created", project=project, subject=campaign)
    return campaign


@transaction.atomic
def add_version(
    *, author: Author, campaign: Campaign, label_set: LabelSet | None, guidelines: str = GUIDELINES
) -> CampaignVersion:
    """What people are asked from now on. Those who hold a task finish it under the version they were dealt."""
    Campaign.objects.select_for_update().get(pk=campaign.pk)  # one number each
    last = campaign.versions.aggregate(last=Max("number"))["last"] or 0
    version = CampaignVersion.objects.create(
        project_id=campaign.project_id,
        campaign=campaign,
        number=last + 1,
        guidelines=texts.check(guidelines, "/guidelines"),
        label_set=label_set,
        labels=frozen_labels(label_set),
    )
    Question.objects.bulk_create(
        Question(
            project_id=campaign.project_id,
            campaign_version=version,
            kind=kind,
            text=text,
            config=config,
            position=position,
        )
        for position, (kind, text, config) in enumerate(QUESTIONS)
    )
    if last:
        author.audit("campaign.new_version", project=campaign.project, subject=campaign, number=version.number)
    return version


def current_version(campaign: Campaign) -> CampaignVersion:
    return campaign.versions.order_by("-number")[0]


@transaction.atomic
def refresh_labels(*, author: Author, campaign: Campaign) -> CampaignVersion:
    """A new version when the label set has changed since the current one; else the current one."""
    now = current_version(campaign)
    if now.labels == frozen_labels(now.label_set):
        return now
    return add_version(author=author, campaign=campaign, label_set=now.label_set, guidelines=now.guidelines)


@transaction.atomic
def set_state(*, author: Author, campaign: Campaign, state: str) -> Campaign:
    """Open, pause or close. Work in people's hands can still be submitted."""
    if state not in Campaign.State.values:
        raise BadValue("/state", f"A campaign is one of {', '.join(Campaign.State.values)}.")
    if Campaign.objects.filter(pk=campaign.pk).exclude(state=state).update(state=state):
        author.audit(f"campaign.{state}", project=campaign.project, subject=campaign)
    campaign.refresh_from_db()
    return campaign


@transaction.atomic
def furnish(
    *,
    project: Project,
    actor: User,
    labels: Sequence[NewLabel] = DEFAULT_LABELS,
    guidelines: str = GUIDELINES,
    reaction_kinds: Sequence[tuple[str, str, int]] = REACTION_KINDS,
) -> Campaign:
    """What every new project starts with: labels, a campaign to read answers in, reaction kinds. Once is enough."""
    author = Author.person(actor)
    label_set = LabelSet.objects.filter(project=project, name=LABEL_SET).first() or create_label_set(
        author=author, project=project, name=LABEL_SET, labels=labels
    )
    ReactionKind.objects.bulk_create(
        (
            ReactionKind(project=project, key=key, name=name, polarity=polarity, built_in=key == SHOWN[0])
            for key, name, polarity in (SHOWN, *reaction_kinds)
        ),
        ignore_conflicts=True,
    )
    return Campaign.objects.filter(project=project, name=CAMPAIGN).first() or create_campaign(
        author=author, project=project, name=CAMPAIGN, label_set=label_set, guidelines=guidelines
    )
