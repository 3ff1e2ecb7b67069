"""Runs: the list, one run as it goes, and what it learned from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from frontend.paging import turns
from redpen.accounts.errors import NotFound
from redpen.accounts.pages import as_id, page_of
from redpen.accounts.rules import may, open_project
from training.actions.going_on import go_on as let_go_on
from training.actions.runs import cancel_run, run_of, try_again
from training.models import Run, Snapshot
from training.models.runs import ENDED, RunState
from training.queries import runs as queries
from training.queries.snapshots import SPLITS, examples
from training.recipes import registry
from training.runs.places import checkpoint_step

if TYPE_CHECKING:
    from training.compare.stats import Paired


@require_safe
def runs(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "training.see")
    page = page_of(queries.of_project(project), after=request.GET.get("after"), newest_first=True, limit=30)
    context = {
        "project": project,
        "page": page,
        **turns(request, page.next),
    }
    return render(request, "training/runs.html", context)


@never_cache
@require_safe
def run(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    project = open_project(request, slug, "training.see")
    found = run_of(project, number)
    recipe = registry.RECIPES.get(found.recipe)
    context = {
        "project": project,
        "recipe": recipe,
        "inputs": found.inputs.select_related("model_version"),
        "options": json.dumps(found.config, indent=1, ensure_ascii=False),
        "again": found.again.order_by("-number").first(),
        "after": found.after.order_by("number"),
        "costs": queries.costs(found),
        **status_of(request, found),
        **samples_of(found),
    }
    return render(request, "training/run.html", context)


@never_cache
@require_safe
def status(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The fragment with state and progress; 204 while nothing has changed, so that nothing moves."""
    project = open_project(request, slug, "training.see")
    context = {"project": project, **status_of(request, run_of(project, number))}
    if request.GET.get("seen") == context["status_key"]:
        return HttpResponse(status=204)
    return render(request, "training/_status.html", context)


def status_of(request: HttpRequest, found: Run) -> dict[str, Any]:
    ended = found.state in ENDED
    until = found.ended_at or timezone.now()
    return {
        "run": found,
        "ended": ended,
        "seconds": (until - found.started_at).total_seconds() if found.started_at else None,
        "left": queries.seconds_left(found),
        "status_key": f"{found.state}.{found.attempt}.{found.step}",
        "may_run": may(request.role, "training.run"),  # type: ignore[attr-defined]
        "checkpoint": checkpoint_step(found) if found.state == RunState.CANCELLED else None,
        "percent": round(100 * found.step / found.total_steps) if found.total_steps else None,
    }


@never_cache
@require_safe
def samples(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    project = open_project(request, slug, "training.see")
    found = run_of(project, number)
    context = {"project": project, "run": found, "ended": found.state in ENDED, **samples_of(found)}
    if request.GET.get("seen") == context["samples_key"] and not context["ended"]:
        return HttpResponse(status=204)
    return render(request, "training/_samples.html", context)


def samples_of(found: Run) -> dict[str, Any]:
    rows = queries.samples_of(found)
    shown = [{"step": row.step, "attempt": row.attempt, **as_shown(row.data)} for row in rows]
    return {
        "comparison": next((one for one in shown if "comparison" in one), None),
        "samples": [one for one in shown if "comparison" not in one],
        "samples_key": str(rows[0].pk) if rows else "none",
    }


SIGNS = {1.0: "+", -1.0: "\N{MINUS SIGN}", 0.0: "not read"}  # what a segment earned


def as_shown(event: dict[str, Any]) -> dict[str, Any]:
    """A sample's data: an answer with scores on its words, or a question with several answers."""
    data = event.get("data", event)
    if not isinstance(data, dict):
        return {"other": json.dumps(data, ensure_ascii=False)}
    if isinstance(data.get("comparison"), list):
        return compared(data)
    if isinstance(data.get("answers"), list):
        answers = [{**one, **cuts(one)} for one in data["answers"]]
        return {"question": data.get("question", ""), "answers": answers}
    if isinstance(data.get("text"), str):
        maps = {"marked": data.get("tokens") or [], **(data.get("maps") or {})}
        return {
            "question": data.get("question", ""),
            "maps": [{"name": name, "pieces": pieces(data["text"], values)} for name, values in maps.items()],
            "critique": data.get("critique", ""),
            "reward": data.get("reward"),
        }
    return {"other": json.dumps(data, ensure_ascii=False, indent=1)}


def compared(data: dict[str, Any]) -> dict[str, Any]:
    """Answers before and after, cut at what is marked in them; defects counted, an answer's and each label's."""
    pairs = [
        {
            "question": one["question"],
            "answers": [
                {
                    "title": title,
                    "pieces": marked(answer["text"], answer["marks"]),
                    "bad": sum(mark[2] < 0 for mark in answer["marks"]),
                    "cut_off": answer.get("cut_off"),
                }
                for title, answer in (("Before", one["before"]), ("After", one["after"]))
            ],
        }
        for one in data["comparison"]
    ]
    before, after = data["bad"]
    return {
        "comparison": pairs,
        "marked_by": data["marked_by"],
        "rows": [
            ("all marked phrases", before, after, change(data["comparison"])),
            ("an answer, on average", before / len(pairs), after / len(pairs), None),
            *(
                (label.replace("_", " "), *counts, change(data["comparison"], label))
                for label, *counts in data["labels"]
                if label
            ),
        ],
    }


def change(pairs: list[dict[str, Any]], label: str | None = None) -> Paired | None:
    """How many more bad phrases (of one label) an answer has after than before, prompt by prompt: the mean difference
    with its 95 % interval, and p. None where two prompts have not been answered.
    """
    from training.compare.stats import paired  # numpy: not for every page

    def count(answer: dict[str, Any]) -> int:
        return sum(mark[2] < 0 and label in (None, mark[3]) for mark in answer["marks"])

    before, after = (
        {place: float(count(one[when])) for place, one in enumerate(pairs)} for when in ("before", "after")
    )
    return paired(after, before) if len(pairs) > 1 else None


def marked(text: str, marks: list[list[Any]]) -> list[dict[str, Any]]:
    """The text cut at its marks, which may not overlap: of two that do the first is shown. An empty mark (something is
    missing there) is a piece without text.
    """
    found, at = [], 0
    for start, end, score, label in sorted(marks, key=lambda mark: (mark[0], -mark[1])):
        if not at <= start <= end <= len(text):
            continue
        if start > at:
            found.append({"text": text[at:start], "sign": ""})
        sign = "bad" if score < 0 else "good"
        found.append({"text": text[start:end], "sign": sign, "label": label.replace("_", " ")})
        at = end
    if at < len(text):
        found.append({"text": text[at:], "sign": ""})
    return found


def heat_of(score: float) -> int:
    return round(20 * min(1.0, max(0.0, -score)))


def pieces(text: str, tokens: list[list[float]]) -> list[dict[str, Any]]:
    """The text cut at its tokens; `heat` 0 to 20 is how bad a token is, `good` says that it earned something. Offsets
    count code points, as Python does.
    """
    found, at = [], 0
    for start, end, score in tokens:
        start, end = int(start), int(end)
        if not at <= start <= end <= len(text):
            continue
        if start > at:
            found.append({"text": text[at:start], "heat": 0, "score": None})
        found.append({"text": text[start:end], "heat": heat_of(score), "score": score, "good": score > 0})
        at = end
    if at < len(text):
        found.append({"text": text[at:], "heat": 0, "score": None})
    return found


def cuts(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer in the segments of each category that has found something in it (`paid` is +1, -1 or 0, as a segment
    was judged; it stands before the space at the segment's end), and the names of those that have found nothing.
    """
    found: list[dict[str, Any]] = []
    clean = []
    for name, segments in (answer.get("segments") or {}).items():
        if segments and all(score > 0 for _, _, score in segments):
            clean.append(name)
            continue
        parts = []
        for piece in pieces(answer.get("text", ""), segments):
            text = piece["text"].rstrip() or piece["text"]
            paid = SIGNS.get(piece["score"], "")
            parts.append({**piece, "text": text, "tail": piece["text"][len(text) :], "paid": paid})
        found.append({"name": name, "pieces": parts})
    return {"cuts": found, "clean": clean}


@never_cache
@require_safe
def curve(request: HttpRequest, slug: str, number: int) -> JsonResponse:
    """New points and new lines of the log since the event `after`, for the page that polls."""
    project = open_project(request, slug, "training.see")
    found = run_of(project, number)
    after = request.GET.get("after", "")
    return JsonResponse(
        {"state": found.state, "ended": found.state in ENDED, **news(found, as_id(after) if after else None)}
    )


def news(found: Run, after: UUID | None) -> dict[str, Any]:
    rows = queries.news(found, after=after)
    origins = queries.origins(found)  # attempts that went on from a checkpoint draw one curve
    points = [row for row in rows if row.type == "metrics"]
    return {
        "points": [[origins.get(row.attempt, row.attempt), row.step, row.data.get("values", {})] for row in points],
        "log": [
            {
                "attempt": row.attempt,
                "at": row.at.isoformat(),
                "level": row.data.get("level", "error"),
                "text": words(row),
            }
            for row in rows
            if row.type in ("log", "error")
        ],
        "after": str(rows[-1].pk) if rows else (str(after) if after else ""),
        "more": len(rows) == queries.MOST_EVENTS,
    }


def words(row: Any) -> str:
    return str(row.data.get("text") or " ".join(str(row.data.get(name, "")) for name in ("message", "action")))


@require_POST
def cancel(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    found = cancel_run(run=run_of(project, number), author=request.user)
    messages.info(request, "It is being stopped." if found.state == "cancelling" else "It is cancelled.")
    return redirect("run", slug, number)


@require_POST
def go_on(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    found = let_go_on(run=run_of(project, number), author=request.user)
    messages.success(request, "It goes on from its last checkpoint.")
    return redirect("run", slug, found.number)


@require_POST
def again(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    found, _ = try_again(run=run_of(project, number), author=request.user, client_key=request.POST.get("key") or None)
    messages.success(request, f"This is run {found.number}: the same again, over the same records.")
    return redirect("run", slug, found.number)


@require_safe
def snapshot(request: HttpRequest, slug: str, snapshot_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "training.see")
    found = Snapshot.objects.filter(project=project, pk=snapshot_id).select_related("created_by").first()
    if found is None:
        raise NotFound("There is no such snapshot in this project.")
    rows = [
        {"kind": kind, "splits": [splits.get(name, 0) for name in SPLITS]}
        for kind, splits in (found.counts.get("rows") or {}).items()
    ]
    context = {
        "project": project,
        "snapshot": found,
        "splits": SPLITS,
        "rows": rows,
        "labels": sorted((found.counts.get("labels") or {}).items(), key=lambda one: -one[1]),
        "query": json.dumps(found.query, indent=1, ensure_ascii=False),
        "runs": found.runs.order_by("-number"),
        "examples": examples(found),
    }
    return render(request, "training/snapshot.html", context)
