"""Who gets what at every URL: the one table, held against the URL conf by test_url_roles.py.

A new URL needs a line here. `URLS[name] = project(GET="AMBDV", POST=("A", 422), pk="response")` says: it lies in a
project; all five roles may GET it and see 200; only admins may POST, and an empty body brings them 422; `pk` is the id
of a response (World below makes one in each project). `POST=("A", 302, {"role": "viewer"})` sends that body. Everybody
else gets what the scope says:

  project   other roles 403; strangers 404, as where nothing is; signed out: 401 from the API, pages send to the sign-in
            page; another project's object 404; any method that is not named: 405, or a refusal before it
  person    whoever is signed in, member or not
  anybody   signed out as well
  keyed     programs with a key: 401 for everybody who is only signed in
  staff     support staff only: 403, signed out: to the sign-in page

Roles: A admin, M reviewer, B annotator, D developer, V viewer. `python -m tests.accounts.url_roles` prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LETTERS = {"A": "admin", "M": "reviewer", "B": "annotator", "D": "developer", "V": "viewer"}
EVERYONE = "AMBDV"
# what a write without a body may bring to somebody who may do it: it got past the question who may
PAST_THE_GATE = (200, 201, 202, 204, 302, 400, 409, 415, 422)


@dataclass(frozen=True)
class Cell:
    roles: frozenset[str]
    statuses: tuple[int, ...]
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Row:
    scope: str
    methods: dict[str, Cell]
    objects: dict[str, str] = field(default_factory=dict)  # URL keyword -> kind of object in World


def _cell(method: str, given: str | tuple) -> Cell:
    letters, *rest = (given,) if isinstance(given, str) else given
    body = next((one for one in rest if isinstance(one, dict)), None)
    statuses = tuple(one for one in rest if isinstance(one, int))
    default = (200,) if method == "GET" else PAST_THE_GATE
    return Cell(frozenset(LETTERS[letter] for letter in letters), statuses or default, body)


def project(**given: Any) -> Row:
    methods = {name: _cell(name, value) for name, value in given.items() if name in METHODS}
    return Row("project", methods, {name: value for name, value in given.items() if name not in METHODS})


def _open_to(scope: str, **given: int | tuple[int, ...] | str) -> Row:
    methods = {}
    for name in METHODS:
        if name in given:
            value = given[name]
            methods[name] = Cell(frozenset(), value if isinstance(value, tuple) else (value,))
    return Row(scope, methods, {name: value for name, value in given.items() if name not in METHODS})


def person(**given: Any) -> Row:
    return _open_to("person", **given)


def anybody(**given: Any) -> Row:
    return _open_to("anybody", **given)


def keyed(*methods: str, **objects: str) -> Row:
    """Asked with an API key: nobody's session opens it. What a key may: tests/annotation/test_keyed_api.py."""
    return _open_to("anybody", **dict.fromkeys(methods, 401), **objects)


def staff() -> Row:
    return Row("staff", {})


SPAN = {"start": 0, "end": 9, "quote": "Two years", "sentiment": -1}

URLS: dict[str, Row] = {
    # platform
    "readyz": anybody(GET=200),
    "api-schema": anybody(GET=200),
    "api_docs": anybody(GET=200),
    "admin:*": staff(),
    # people: pages
    "sign_in": anybody(GET=(200, 302), POST=(302, 422)),
    "sign_out": anybody(POST=302),
    "invitation": anybody(GET=200, POST=(302, 409, 422), token="token"),
    "password_reset": anybody(GET=200, POST=422),
    "password_reset_confirm": anybody(GET=404, POST=404, uidb64="nonsense", token="nonsense"),
    "account": person(GET=200),
    "account_name": person(POST=422),
    "account_password": person(POST=422),
    "new_project": person(GET=200, POST=422),
    # a project's people: pages
    "project_settings": project(GET="A", POST=("A", 422)),
    "audit": project(GET="AM"),
    "members": project(GET=EVERYONE),
    "invite_member": project(POST=("A", 422)),
    "member_role": project(POST=("A", 302, {"role": "viewer"}), member_id="member"),
    "remove_member": project(POST=("A", 302), member_id="member"),
    "member_reset_link": project(POST=("A", 302), member_id="member"),
    "revoke_invitation": project(POST=("A", 302), invitation_id="invitation"),
    "leave_project": project(POST=(EVERYONE, 302, 409)),
    # people: API
    "api-me": person(GET=200, PATCH=422),
    "api-invitation-accept": person(POST=422),
    "api-projects": person(GET=200, POST=422),
    "api-project": project(GET=EVERYONE, PATCH=("A", 200)),
    "api-audit": project(GET="AM"),
    "api-members": project(GET=EVERYONE),
    "api-member": project(PATCH=("A", 200, {"role": "viewer"}), DELETE=("A", 204), member_id="member"),
    "api-reset-link": project(POST=("A", 200), member_id="member"),
    "api-invitations": project(GET="A", POST=("A", 422)),
    "api-invitation": project(DELETE=("A", 204), invitation_id="invitation"),
    # keys and intake: pages
    "keys": project(GET="AD", POST=("AD", 422)),
    "rotate_key": project(POST=("AD", 302, {"overlap_hours": "24"}), key_id="key"),
    "revoke_key": project(POST=("AD", 302), key_id="key"),
    "live_arrivals": project(GET="AD"),
    "live_settings": project(GET="AD", POST=("A", 422)),
    "reaction_kinds": project(POST=("AD", 422)),
    "reaction_kind": project(POST=("AD", 302, {"name": "Liked", "polarity": "1"}), key="kind"),
    # privacy
    "privacy": project(GET="A", POST=("A", 422)),
    "erasure": project(GET="A", pk="erasure"),
    "api-erasures": project(GET="A", POST=("A", 422)),
    "api-erasure": project(GET="A", pk="erasure"),
    # keys and intake: API
    "api-keys": project(GET="AD", POST=("AD", 422)),
    "api-key": project(GET="AD", DELETE=("AD", 204), key_id="key"),
    "api-key-rotate": project(POST=("AD", 201), key_id="key"),
    "api-intake": project(GET="AD", PATCH=("A", 200)),
    "api-reaction-kinds": project(GET="AMDV", POST=("AD", 422)),
    "api-reaction-kind": project(GET="AMDV", PATCH=("AD", 200), key="kind"),
    # home and labelling: pages
    "home": person(GET=200),
    "project": project(GET=EVERYONE),
    "label": project(GET="AMB"),
    "pair": project(GET="AMB"),
    # labelling: API
    "api-tasks": project(GET=EVERYONE, POST=("A", 200)),
    "api-assignment-next": project(POST=("AMB", 200, 422)),
    "api-assignment": project(GET="AMB", pk="assignment"),
    "api-assignment-heartbeat": project(POST="AMB", pk="assignment"),
    "api-assignment-draft": project(PUT="AMB", pk="assignment"),
    "api-assignment-submit": project(POST="AMB", pk="assignment"),
    "api-assignment-skip": project(POST=("AMB", 200, 409, {"reason": "unclear"}), pk="assignment"),
    "api-assignment-reopen": project(POST="AMB", pk="assignment"),
    "api-response-spans": project(GET=EVERYONE, POST=("AMB", 201, SPAN), pk="response"),
    "api-response-critiques": project(POST=("AMB", 422), pk="response"),
    "api-response-ratings": project(POST=("AMB", 422), pk="response"),
    "api-response-rewrites": project(POST=("AMB", 422), pk="response"),
    "api-response-reports": project(POST=("AMB", 201, {"reason": "other"}), pk="response"),
    "api-span": project(GET=EVERYONE, PATCH=("AMB", 200, 422), DELETE=("AMB", 200), lineage="span"),
    "api-span-restore": project(POST=("AMB", 200, 409), lineage="span"),
    "api-preferences": project(POST=("AMB", 422)),
    # data: pages
    "data": project(GET=EVERYONE),
    "ask": project(GET="A", POST=("A", 302)),
    "record": project(GET=EVERYONE, lineage="span"),
    "answer": project(GET=EVERYONE, pk="response"),
    "export": project(GET="AMD"),
    "import": project(GET="AD", POST=("AD", 422)),
    "import_job": project(GET="AD", pk="import"),
    "import_again": project(POST="AD", pk="import"),
    # live: pages
    "live": project(GET="AMDV"),
    "live_news": project(GET=("AMDV", 200, 404)),
    "live_rates": project(GET="AMDV"),
    "live_users": project(GET="AMDV"),
    "live_user": project(GET="AMDV", pk="product user"),
    "live_user_decision": project(POST=("AM", 302), pk="product user"),
    "api-users": project(GET="AMDV"),
    "api-user": project(GET="AMDV", PATCH=("AM", 200, {"left_out": True}), pk="product user"),
    "live_send": project(GET="A", POST=("A", 302)),
    "live_answer": project(GET="AMDV", pk="response"),
    # data: API
    "api-records": project(GET=EVERYONE),
    "api-record": project(GET=EVERYONE, DELETE=("AMB", 200), lineage="span"),
    "api-prompts": project(GET="AMDV", POST=("AD", 422)),
    "api-prompt": project(GET="AMDV", pk="prompt"),
    "api-responses": project(GET="AMDV", POST=("AD", 422)),
    "api-response": project(GET="AMDV", pk="response"),
    "api-imports": project(GET="AD", POST=("AD", 415, 422)),
    "api-import": project(GET="AD", pk="import"),
    "api-export": project(GET="AMD"),
    "api-rates": project(GET="AMDV"),
    # asked with a key
    "keyed-responses": keyed("GET"),
    "keyed-response": keyed("GET", name="=r-1"),
    "keyed-reactions": keyed("GET"),
    "keyed-reaction": keyed("GET", name="=t-1"),
    "keyed-export": keyed("GET"),
    "keyed-user": keyed("DELETE", user="=u-1"),
    "keyed-feedback": keyed("POST"),
    "keyed-one-feedback": keyed("DELETE", name="=f-1"),
    "keyed-records": keyed("GET"),
    "keyed-rates": keyed("GET"),
    "keyed-reaction-kinds": keyed("GET", "POST"),
    "keyed-webhooks": keyed("GET"),
    "keyed-webhook-deliveries": keyed("GET", pk="webhook"),
    # webhooks: API
    "api-webhooks": project(GET="AD", POST=("AD", 422)),
    "api-webhook": project(GET="AD", PATCH=("AD", 200), DELETE=("AD", 200), pk="webhook"),
    "api-webhook-rotate": project(POST=("AD", 200), pk="webhook"),
    "api-webhook-ping": project(POST=("AD", 202), pk="webhook"),
    "api-webhook-deliveries": project(GET="AD", pk="webhook"),
    "api-delivery": project(GET="AD", pk="delivery"),
    "api-delivery-redeliver": project(POST=("AD", 202), pk="delivery"),
    # webhooks: pages
    "webhooks": project(GET="AD"),
    "webhook_new": project(GET="AD", POST=("AD", 422)),
    "webhook": project(GET="AD", POST=("AD", 422), pk="webhook"),
    "webhook_switch": project(POST=("AD", 302), pk="webhook"),
    "webhook_rotate": project(POST=("AD", 302), pk="webhook"),
    "webhook_ping": project(POST=("AD", 302), pk="webhook"),
    "webhook_delivery": project(GET="AD", pk="delivery"),
    "webhook_redeliver": project(POST=("AD", 302), pk="delivery"),
    # training: pages
    "train": project(GET="A"),
    "train_recipe": project(GET="A", POST=("A", 422), recipe="=raft"),
    "train_data": project(GET="A", recipe="=raft"),
    "runs": project(GET="AMDV"),
    "run": project(GET="AMDV", number="run"),
    "run_status": project(GET="AMDV", number="run"),
    "run_samples": project(GET="AMDV", number="run"),
    "run_curve": project(GET="AMDV", number="run"),
    "run_cancel": project(POST=("A", 302), number="run"),
    "run_go_on": project(POST=("A", 302, 409), number="run"),
    "run_again": project(POST=("A", 302, 409), number="run"),
    "comparisons": project(GET="AMDV"),
    "comparison_new": project(GET="A", POST=("A", 422)),
    "comparison": project(GET="AMDV", number="comparison"),
    "comparison_status": project(GET="AMDV", number="comparison"),
    "comparison_plot": project(GET="AMDV", number="comparison"),
    "comparison_cancel": project(POST=("A", 302), number="comparison"),
    "comparison_resume": project(POST=("A", 302, 409, 422), number="comparison"),
    "snapshot": project(GET="AMDV", snapshot_id="snapshot"),
    "models": project(GET="AMDV"),
    "model": project(GET="AMDV", model_id="model"),
    "model_stage": project(POST=("A", 302, {"stage": "retired"}), model_id="model"),
    # training: API
    "api-recipes": project(GET="AMDV"),
    "api-recipe": project(GET="AMDV", name="=raft"),
    "api-base-models": project(GET="AMDV"),
    "api-runs": project(GET="AMDV", POST=("A", 422)),
    "api-run": project(GET="AMDV", number="run"),
    "api-run-events": project(GET="AMDV", number="run"),
    "api-run-cancel": project(POST=("A", 200), number="run"),
    "api-run-go-on": project(POST=("A", 200, 409), number="run"),
    "api-run-again": project(POST=("A", 200, 201, 409), number="run"),
    "api-comparisons": project(GET="AMDV", POST=("A", 201, 422)),
    "api-comparison": project(GET="AMDV", number="comparison"),
    "api-comparison-plot": project(GET="AMDV", number="comparison"),
    "api-comparison-cancel": project(POST=("A", 200), number="comparison"),
    "api-comparison-resume": project(POST=("A", 200, 409, 422), number="comparison"),
    "api-snapshots": project(GET="AMDV", POST=("A", 201, 422)),
    "api-snapshot-preview": project(POST=("AMDV", 200, 422)),
    "api-snapshot": project(GET="AMDV", pk="snapshot"),
    "api-models": project(GET="AMDV"),
    "api-model": project(GET="AMDV", PATCH=("A", 200, {"stage": "retired"}), pk="model"),
    "api-model-score": project(POST=("AMD", 422), pk="model"),
}


class World:
    """Two projects with one of everything; `value` is what stands in a URL for a kind of object.

    An object that belongs to a person (an assignment, a span) is a dict by person: each gets his own, others any.
    """

    def __init__(self, cast: Any) -> None:
        self.cast = cast
        both = {cast.project: [cast.ben, cast.ada, cast.mia], cast.other_project: [cast.zoe]}
        # the other project's run has a number that is none here
        self.made = {
            project.pk: _furnish(project, people, run_number=3 + place)
            for place, (project, people) in enumerate(both.items())
        }

    def value(self, kind: str, project: Any, person: Any) -> Any:
        if kind.startswith("="):
            return kind[1:]
        found = self.made[project.pk][kind]
        if isinstance(found, dict):
            return found.get(person, next(iter(found.values())))
        return found


def _furnish(project: Any, people: list[Any], *, run_number: int) -> dict[str, Any]:
    from django.utils import timezone

    from annotation.models import Erasure, ImportJob, ProductUser, ReactionKind, Webhook, WebhookDelivery
    from redpen.accounts.actions.invitations import invite
    from redpen.accounts.actions.keys import create_key
    from redpen.accounts.models import Membership
    from tests.training import factories
    from training.models import Comparison, Run, Snapshot, Trial

    first = people[0]
    last = Membership.objects.filter(project=project).order_by("-id")[0]
    members = {user: Membership.objects.get(project=project, user=user).pk for user in (first, last.user_id)}
    invitation, token = invite(project=project, actor=first, role="viewer")
    key, _ = create_key(project=project, actor=first, name="shop", scopes=["read"])
    kind = ReactionKind.objects.create(project=project, key=f"like-{run_number}", name="Like", polarity=1)
    response = factories.make_response(factories.make_prompt(project))
    spans = {person: factories.mark(response, "Two years", author=person).lineage for person in people}
    work = {person: factories.make_assignment(response, person).pk for person in people}
    snapshot = Snapshot.objects.create(
        project=project, name="all", query={}, state="ready", content_hash="0" * 64, path="snapshots/none"
    )
    run = Run.objects.create(
        project=project,
        number=run_number,
        recipe="span_reward_model",
        base_model=factories.make_base(),
        snapshot=snapshot,
    )
    comparison = Comparison.objects.create(
        project=project,
        number=run_number,
        options={"recipes": ["raft"], "seeds": [0], "base_model": run.base_model.name, "checker": "support"},
    )
    Trial.objects.create(
        project=project, comparison=comparison, place="raft/0/policy", subject="raft", part="policy", seed=0, run=run
    )
    upload = ImportJob.objects.create(
        project=project, format="jsonl", filename="a.jsonl", path="uploads/none", created_by=first
    )
    erasure = Erasure.objects.create(project=project, who="0" * 64, until=timezone.now(), asked_by=first)
    hook = Webhook.objects.create(project=project, url="https://hooks.example/", events=["run.failed"])
    delivery = WebhookDelivery.objects.create(
        project=project, webhook=hook, event="run.failed", event_id="1", keys=["1"], payload=[{"id": "1"}]
    )
    return {
        # nobody asks about himself: one's own membership is another matter
        "member": {None: members[first], first: members[last.user_id]},
        "invitation": invitation.pk,
        "key": key.pk,
        "kind": kind.key,
        "token": token,
        "nonsense": "nonsense",
        "prompt": response.prompt_id,
        "response": response.pk,
        "span": spans,
        "assignment": work,
        "import": upload.pk,
        "erasure": erasure.pk,
        "webhook": hook.pk,
        "delivery": delivery.pk,
        "product user": ProductUser.objects.create(project=project, test=False, name="u1").pk,
        "snapshot": snapshot.pk,
        "run": run.number,
        "comparison": comparison.number,
        "model": factories.make_model(project).pk,
    }


def table() -> str:
    """The table as Markdown."""
    lines = ["| URL | scope | " + " | ".join(METHODS) + " |", "| --- " * (len(METHODS) + 2) + "|"]
    for name, row in URLS.items():
        cells = []
        for method in METHODS:
            cell = row.methods.get(method)
            who = "".join(letter for letter, role in LETTERS.items() if cell and role in cell.roles)
            cells.append((who or "all") if cell else "")
        lines.append(f"| {name} | {row.scope} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201
