"""Webhooks: the list, one with its log of deliveries, one delivery."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotation.actions import webhooks as actions
from annotation.models.webhooks import Event, Webhook, WebhookDelivery
from frontend import shown_once
from frontend.forms.webhooks import WebhookChangeForm, WebhookForm
from frontend.paging import turns
from redpen.accounts.errors import Conflict, Invalid, NotFound
from redpen.accounts.models import Project
from redpen.accounts.rules import open_project

ON_A_PAGE = 50


@require_safe
def listing(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "webhooks.see")
    waiting = Count("deliveries", filter=Q(deliveries__state__in=["due", "sending", "failed"]))
    hooks = Webhook.objects.filter(project=project).annotate(waiting=waiting).order_by("-enabled", "-id")[:100]
    return render(request, "webhooks/list.html", {"project": project, "hooks": hooks})


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "webhooks.change")
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            hook = actions.create_webhook(user=request.user, project=project, **form.cleaned_data)
        except (Invalid, Conflict) as error:
            show_refusal(form, error)
        else:
            return with_secret(request, hook)
    status = 422 if request.method == "POST" else 200
    return render(request, "webhooks/new.html", {"project": project, "form": form}, status=status)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """One webhook: how it does, its log, its settings. htmx gets the log alone."""
    project = open_project(request, slug, "webhooks.change" if request.method == "POST" else "webhooks.see")
    hook = find(project, pk)
    form = WebhookChangeForm(request.POST) if request.method == "POST" else None
    if form is not None and form.is_valid():
        try:
            actions.change_webhook(user=request.user, hook=hook, **form.cleaned_data)
        except (Invalid, Conflict) as error:
            show_refusal(form, error)
        else:
            messages.success(request, "Saved.")
            return redirect("webhook", slug, pk)
    context = {"project": project, "hook": hook, "events": labels(hook.events), **log_of(request, hook)}
    if request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request and form is None:
        response = render(request, "webhooks/_log.html", context)
    else:
        initial = {"url": hook.url, "events": hook.events, "name": hook.name}
        context |= {"form": form or WebhookChangeForm(initial=initial), "secret": shown_once.take(request)}
        context["two_secrets"] = hook.old_until is not None and hook.old_until > timezone.now()
        response = render(request, "webhooks/webhook.html", context, status=422 if form is not None else 200)
        shown_once.forget(response, path=request.path)
    response["Vary"] = "HX-Request"
    return response


@require_POST
def switch(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """Off, or on when `on` says so."""
    project = open_project(request, slug, "webhooks.change")
    hook = actions.change_webhook(user=request.user, hook=find(project, pk), enabled="on" in request.POST)
    words = "Switched on: what waited is sent now." if hook.enabled else "Switched off. Its log stays."
    messages.success(request, words)
    return redirect("webhook", slug, pk)


@require_POST
def rotate(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    project = open_project(request, slug, "webhooks.change")
    return with_secret(request, actions.rotate_secret(user=request.user, hook=find(project, pk)))


@require_POST
def ping(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    project = open_project(request, slug, "webhooks.change")
    actions.ping(user=request.user, hook=find(project, pk))
    messages.success(request, "A test message is on its way; see the log.")
    return redirect("webhook", slug, pk)


@require_safe
def delivery(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    project = open_project(request, slug, "webhooks.see")
    row = find_delivery(project, pk)
    shown = json.dumps(row.payload, ensure_ascii=False, indent=2)
    context = {"project": project, "row": row, "hook": row.webhook, "event": Event(row.event).label, "payload": shown}
    return render(request, "webhooks/delivery.html", context)


@require_POST
def redeliver(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    project = open_project(request, slug, "webhooks.change")
    row = actions.redeliver(user=request.user, delivery=find_delivery(project, pk))
    messages.success(request, "It is sent once more, under the same id.")
    return redirect("webhook", slug, row.webhook_id)


def find(project: Project, pk: UUID) -> Webhook:
    found = Webhook.objects.filter(project=project, pk=pk).select_related("project", "created_by").first()
    if found is None:
        raise NotFound("There is no such webhook here.")
    return found


def find_delivery(project: Project, pk: UUID) -> WebhookDelivery:
    found = WebhookDelivery.objects.filter(project=project, pk=pk).select_related("webhook", "project").first()
    if found is None:
        raise NotFound("There is no such delivery here; they are kept for 7 days, and for 30 when they were given up.")
    return found


def labels(events: list[str]) -> list[str]:
    return [Event(event).label for event in events]


def log_of(request: HttpRequest, hook: Webhook) -> dict[str, Any]:
    """One page of the log, newest first; it asks for itself again while something on it is about to be sent."""
    rows = WebhookDelivery.objects.filter(webhook=hook).defer("payload").order_by("-id")
    state = request.GET.get("state", "")
    if state in WebhookDelivery.State.values:
        rows = rows.filter(state=state)
    try:
        after = UUID(request.GET["after"])
    except (KeyError, ValueError):
        after = None
    shown = list((rows.filter(id__lt=after) if after else rows)[: ON_A_PAGE + 1])
    following = shown[ON_A_PAGE - 1].pk if len(shown) > ON_A_PAGE else None
    shown = shown[:ON_A_PAGE]
    soon = hook.enabled and not after and any(row.state in ("due", "sending") for row in shown)
    return {
        "rows": shown,
        "state": state,
        "states": WebhookDelivery.State.choices,
        "going_on": soon,
        "here": request.get_full_path(),
        **turns(request, following),
    }


def show_refusal(form: WebhookForm, error: Invalid | Conflict) -> None:
    """Each problem at its field."""
    for problem in error.problems or [{"pointer": "", "message": error.message}]:
        field = problem["pointer"].strip("/").partition("/")[0]
        form.add_error(field if field in form.fields else None, problem["message"])


def with_secret(request: HttpRequest, hook: Webhook) -> HttpResponse:
    """To the webhook's page, which shows the new secret this once."""
    path = reverse("webhook", args=[hook.project.slug, hook.pk])
    response = redirect(path)
    shown_once.put(response, {"secret": hook.secret}, path=path, secure=request.is_secure())
    return response
