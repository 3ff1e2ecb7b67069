"""Rows that the tests of training start from, made straight in the tables: what matters to a test is passed in."""

from __future__ import annotations

import hashlib
import itertools
import json

from django.utils import timezone

from annotation.models import (
    Assignment,
    Campaign,
    CampaignVersion,
    Label,
    LabelSet,
    Preference,
    Prompt,
    Question,
    Response,
    SpanCritique,
    Task,
)
from training.models import BaseModel, ModelVersion

counter = itertools.count()


def make_base(name="tiny", location="/nowhere"):
    return BaseModel.objects.get_or_create(name=name, defaults={"source": "folder", "location": location})[0]


def make_prompt(project, text="What is the warranty?", *, split="train", context=(), **fields):
    messages = [{"role": "user", "content": f"{text} ({next(counter)})"}]
    identity = hashlib.sha256(json.dumps([messages, list(context)]).encode()).hexdigest()
    return Prompt.objects.create(
        project=project, messages=messages, context=list(context), content_hash=identity, split=split, **fields
    )


def make_response(prompt, text="Two years. Ask Ann 👩‍🔬!", **fields):
    return Response.objects.create(project=prompt.project, prompt=prompt, text=text, model="writer", **fields)


def make_label(project, key="fact", name="Invented fact", sentiment=-1):
    labels, _ = LabelSet.objects.get_or_create(project=project, name="Defects")
    return Label.objects.get_or_create(
        project=project, label_set=labels, key=key, defaults={"name": name, "sentiment": sentiment}
    )[0]


def make_campaign(project, name="Answers"):
    campaign, fresh = Campaign.objects.get_or_create(project=project, name=name)
    if fresh:
        version = CampaignVersion.objects.create(project=project, campaign=campaign, number=1)
        Question.objects.create(project=project, campaign_version=version, kind="spans")
    return campaign


def make_assignment(response, user, *, state="submitted"):
    """Somebody's work on the task of marking `response`."""
    campaign = make_campaign(response.project)
    task, _ = Task.objects.get_or_create(
        project=response.project, campaign=campaign, kind="spans", prompt=response.prompt, response=response
    )
    return Assignment.objects.create(
        project=response.project,
        task=task,
        campaign_version=campaign.versions.get(),
        user=user,
        state=state,
        submitted_at=timezone.now() if state == "submitted" else None,
    )


def mark(response, quote, *, author=None, label=None, sentiment=-1, assignment=None, **fields):
    """A mark on the first place where `quote` stands."""
    start = response.text.index(quote)
    return SpanCritique.objects.create(
        project=response.project,
        response=response,
        start=start,
        end=start + len(quote),
        quote=quote,
        sentiment=sentiment,
        label=label,
        assignment=assignment,
        author=author,
        agent="" if author else "sim:ines",
        origin="human" if author else "program",
        **fields,
    )


def prefer(a, b, choice="a", *, author=None, **fields):
    return Preference.objects.create(
        project=a.project,
        prompt=a.prompt,
        response_a=a,
        response_b=b,
        choice=choice,
        author=author,
        agent="" if author else "sim:ines",
        origin="human" if author else "program",
        **fields,
    )


def end(record, reason="retracted", at=None):
    type(record).objects.filter(pk=record.pk).update(ended_at=at or timezone.now(), end_reason=reason)


def make_model(project, *, kind="span_reward_model", name="judge", number=1, path="models/none", **fields):
    return ModelVersion.objects.create(
        project=project, kind=kind, name=name, number=number, base=make_base(), path=path, **fields
    )
