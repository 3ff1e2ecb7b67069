"""The endpoints of training: recipes, runs, snapshots, models, scores."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from django.db import connection

from tests.training.factories import make_model, make_response
from training.actions.runs import Launch, cancel_run, launch_run
from training.models import Run
from training.runs import events, lease


def api(cast, path, person=None, *, method="get", body=None, **headers):
    client = cast.client(person or cast.ada)
    options = {"data": json.dumps(body), "content_type": "application/json"} if body is not None else {}
    return getattr(client, method)(f"/api/v1/projects/lantern/{path}", headers=headers or None, **options)


LAUNCH = {"recipe": "span_reward_model", "base_model": "tiny", "config": {"epochs": 3}}


def test_recipes_come_with_the_schema_of_their_options(cast):
    names = {recipe["name"]: recipe for recipe in api(cast, "recipes").json()["recipes"]}
    assert set(names) >= {"span_reward_model", "raft"}
    field = names["raft"]["schema"]["properties"]["samples"]
    assert (field["unit"], field["minimum"], field["presets"]) == ("answers", 1, {"paper": 16, "laptop": 4})
    assert names["raft"]["needs"] == ["reward_model|span_reward_model"]


def test_a_recipe_says_what_data_it_would_use_now(marked):
    data = api(marked, "recipes/span_reward_model").json()["data"]
    assert data["rows"] == {"response": {"train": 4, "dev": 1, "test": 1}}
    assert data["labels"] == [{"key": "fact", "name": "Invented fact", "sentiment": -1, "count": 5}]
    assert api(marked, "recipes/alchemy").status_code == 404


def test_a_run_is_launched_once_under_its_key(marked):
    first = api(marked, "runs", method="post", body=LAUNCH, **{"Idempotency-Key": "one"})
    assert (first.status_code, first.json()["state"], first.json()["number"]) == (201, "queued", 1)
    again = api(marked, "runs", method="post", body=LAUNCH, **{"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = api(marked, "runs", method="post", body={**LAUNCH, "seed": 5}, **{"Idempotency-Key": "one"})
    assert (other.status_code, other.json()["code"]) == (422, "run.key_reused")
    assert Run.objects.count() == 1


def test_a_launch_that_is_refused_names_every_field(marked):
    body = {**LAUNCH, "config": {"epochs": 0, "colour": 1}, "base_model": "none"}
    answer = api(marked, "runs", method="post", body=body)
    assert answer.status_code == 422
    assert {one["pointer"] for one in answer.json()["problems"]} == {"/config/epochs", "/config/colour", "/base_model"}
    assert api(marked, "runs", method="post", body={**LAUNCH, "colour": 1}).status_code == 422


def test_events_are_read_from_where_one_left_off(marked):
    run, _ = launch_run(
        project=marked.project, author=marked.ada, launch=Launch(recipe="span_reward_model", base_model="tiny")
    )
    hold = lease.claim("w")
    said = [{"type": "metrics", "seq": i, "at": 1.0, "step": i, "total": 3, "values": {"loss": 1.0}} for i in range(3)]
    events.store(hold, [*said, {"type": "log", "seq": 3, "at": 2.0, "level": "info", "text": "hello"}])
    first = api(marked, "runs/1/events?type=metrics").json()
    assert [one["step"] for one in first["events"]] == [0, 1, 2]
    assert (first["attempt"], first["seq"], first["more"]) == (1, 2, False)
    rest = api(marked, "runs/1/events?attempt=1&seq=2").json()
    assert [one["data"].get("text") for one in rest["events"]] == ["hello"]
    assert api(marked, "runs/1/events?seq=x").status_code == 422
    shown = api(marked, "runs/1").json()
    assert (shown["step"], shown["metrics"]) == (2, {"loss": 1.0})


def test_cancel_and_again(marked):
    run, _ = launch_run(
        project=marked.project, author=marked.ada, launch=Launch(recipe="span_reward_model", base_model="tiny")
    )
    assert api(marked, "runs/1/again", method="post").status_code == 409
    assert api(marked, "runs/1/cancel", method="post").json()["state"] == "cancelled"
    assert api(marked, "runs/1/cancel", method="post").status_code == 409
    again = api(marked, "runs/1/again", method="post")
    assert (again.status_code, again.json()["number"], again.json()["again_of"]) == (201, 2, 1)


def test_a_list_of_runs_costs_the_same_with_one_and_with_twenty(marked, django_assert_max_num_queries):
    def launch():
        run, _ = launch_run(
            project=marked.project, author=marked.ada, launch=Launch(recipe="span_reward_model", base_model="tiny")
        )
        cancel_run(run=run, author=marked.ada)

    launch()
    client = marked.client(marked.ada)
    for count in (1, 20):
        while Run.objects.count() < count:
            launch()
        with django_assert_max_num_queries(4):  # session, user, membership, the list
            assert len(client.get("/api/v1/projects/lantern/runs").json()["runs"]) == count
    first = api(marked, "runs?limit=15").json()
    rest = api(marked, f"runs?limit=15&cursor={first['next']}").json()
    assert [one["number"] for one in first["runs"] + rest["runs"]] == list(range(20, 0, -1))


def test_a_snapshot_is_frozen_at_once_and_written_by_a_worker(marked):
    from training.tasks import write_snapshot

    answer = api(marked, "snapshots", method="post", body={"kinds": ["response", "prompt"], "name": "mine"})
    assert (answer.status_code, answer.json()["state"]) == (202, "building")
    write_snapshot(answer.json()["id"])
    shown = api(marked, f"snapshots/{answer.json()['id']}").json()
    assert (shown["state"], shown["counts"]["rows"]["prompt"]["train"]) == ("ready", 4)
    assert [one["name"] for one in api(marked, "snapshots").json()["snapshots"]] == ["mine"]
    refused = api(marked, "snapshots", method="post", body={"kinds": ["feelings"]})
    assert (refused.status_code, refused.json()["problems"][0]["pointer"]) == (422, "/kinds/0")
    counted = api(marked, "snapshots/preview", method="post", body={"kinds": ["response"], "origins": ["model"]})
    assert counted.json()["rows"]["response"]["train"] == 0


def test_one_version_of_a_model_is_in_production(cast):
    first = make_model(cast.project, stage="production")
    second = make_model(cast.project, number=2)
    answer = api(cast, f"models/{second.pk}", method="patch", body={"stage": "production"})
    assert answer.json()["stage"] == "production"
    first.refresh_from_db()
    assert first.stage == "retired"
    assert api(cast, f"models/{second.pk}", method="patch", body={"stage": "famous"}).status_code == 422
    foreign = make_model(cast.other_project)
    assert api(cast, f"models/{foreign.pk}").status_code == 404


@pytest.fixture
def model_server(settings):
    """Something that answers as training/serve.py does; `answer` is what it says next."""
    state = {"status": 200, "body": {"tokens": [], "reward": 0.5}, "asked": None, "headers": {}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            state["asked"] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(state["status"])
            for name, value in state["headers"].items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(state["body"]).encode())

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings.MODEL_SERVER_URL = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_answer_is_scored_by_the_model_server(marked, model_server, settings):
    model = make_model(marked.project)
    token = {"start": 0, "end": 3, "text": "Ten", "good": 0.1, "bad": 0.8, "score": -0.7, "labels": {"fact": 0.9}}
    model_server["body"] = {"tokens": [token], "reward": -0.7}
    answer = api(marked, f"models/{model.pk}/score", method="post", body={"question": "How long?", "text": "Ten"})
    assert (answer.status_code, answer.json()["tokens"]) == (200, [token])
    asked = model_server["asked"]
    assert asked["model_path"] == str(settings.DATA_DIR / model.path)
    assert asked["messages"] == [{"role": "user", "content": "How long?"}]
    response = make_response(marked.project and marked_prompt(marked), "سنتان 👩‍🔬")
    api(marked, f"models/{model.pk}/score", method="post", body={"response": str(response.pk)})
    assert model_server["asked"]["text"] == "سنتان 👩‍🔬"


def marked_prompt(cast):
    from annotation.models import Prompt

    return Prompt.objects.filter(project=cast.project).first()


def test_what_cannot_be_scored_says_why(marked, model_server, settings):
    model, policy = make_model(marked.project), make_model(marked.project, kind="policy", name="p")
    score = f"models/{model.pk}/score"
    assert api(marked, score, method="post", body={"text": "  "}).status_code == 422
    assert api(marked, f"models/{policy.pk}/score", method="post", body={"text": "x"}).status_code == 422
    assert "20,000" in api(marked, score, method="post", body={"text": "x" * 20_001}).json()["detail"]
    half = {"text": "a\ud800"}, {"text": "x", "question": "\udc00"}, {"text": "x", "context": [{"text": "\ud800"}]}
    for body in half:
        refused = api(marked, score, method="post", body=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "text.unstorable")
    assert model_server["asked"] is None
    model_server |= {"status": 422, "body": {"message": "This text has 900 tokens.", "action": "Shorten it."}}
    refused = api(marked, score, method="post", body={"text": "x"})
    assert (refused.status_code, refused.json()["detail"]) == (422, "This text has 900 tokens. Shorten it.")
    model_server |= {"status": 503, "body": {"message": "Loading."}, "headers": {"Retry-After": "7"}}
    busy = api(marked, score, method="post", body={"text": "x"})
    assert (busy.status_code, busy["Retry-After"]) == (503, "7")
    settings.MODEL_SERVER_URL = "http://127.0.0.1:9"
    away = api(marked, score, method="post", body={"text": "x"})
    assert (away.status_code, away.json()["code"], away["Retry-After"]) == (503, "model_server.away", "5")
    assert api(marked, score, marked.vic, method="post", body={"text": "x"}).status_code == 403


def test_the_sweeper_rings_for_what_is_due_and_for_snapshots_whose_bell_was_lost(marked, monkeypatch):
    from training import tasks
    from training.actions.snapshots import freeze_query
    from training.snapshots.query import SnapshotQuery

    rung, snapshots = [], []
    monkeypatch.setattr(tasks, "ring", lambda: rung.append(1))
    monkeypatch.setattr(tasks, "ring_for_snapshot", lambda pk: snapshots.append(pk))
    monkeypatch.setattr(tasks, "bells_hanging", lambda: 0)
    tasks.sweep()
    assert rung == []
    launch_run(project=marked.project, author=marked.ada, launch=Launch(recipe="span_reward_model", base_model="tiny"))
    alone = freeze_query(project=marked.project, query=SnapshotQuery(kinds=("prompt",)), author=marked.ada)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE training_snapshot SET created_at = now() - interval '5 minutes'")
    tasks.sweep()
    assert (rung, snapshots) == ([1], [alone.pk])
    monkeypatch.setattr(tasks, "bells_hanging", lambda: 1)
    tasks.sweep()
    assert rung == [1]
    # nobody writes the snapshot of a run that was cancelled in the queue, but for the sweeper
    run = Run.objects.get()
    cancel_run(run=run, author=marked.ada)
    snapshots.clear()
    tasks.sweep()
    assert set(snapshots) == {alone.pk, run.snapshot_id}
