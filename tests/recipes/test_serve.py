"""The model server: what it answers, what it refuses, and when it leaves."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from starlette.testclient import TestClient

from training.serve import Models, application

ASK = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]
TEXT = "Open the flap 💧. Now stop complaining."


@pytest.fixture(scope="module")
def data(tmp_path_factory, base, span_reward_model):
    """A data folder with the base and the trained model in it."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "base").mkdir()
    (folder / "models").mkdir()
    import shutil

    shutil.copytree(base, folder / "base" / "tiny")
    shutil.copytree(span_reward_model.artifact, folder / "models" / "scorer")
    return folder


@pytest.fixture(scope="module")
def models(data):
    return Models(data=data.resolve(), budget=10**9)


@pytest.fixture(scope="module")
def client(models):
    return TestClient(application(models))


def test_every_character_of_the_text_is_scored_once(client, data):
    body = {"model_path": str(data / "models" / "scorer"), "messages": ASK, "context": [], "text": TEXT}
    answer = client.post("/score", json=body)
    assert answer.status_code == 200, answer.text
    tokens = answer.json()["tokens"]
    assert "".join(token["text"] for token in tokens) == TEXT
    assert [token["start"] for token in tokens[1:]] == [token["end"] for token in tokens[:-1]]
    assert set(tokens[0]) == {"start", "end", "text", "good", "bad", "score", "labels"}
    assert -1 <= answer.json()["reward"] <= 1
    assert client.post("/score", json=body).json() == answer.json()


def test_a_policy_or_a_base_writes_answers_that_can_be_made_again(client, data):
    body = {"model_path": str(data / "base" / "tiny"), "messages": ASK, "n": 2, "max_tokens": 30, "seed": 4}
    first, second = (client.post("/generate", json=body).json()["answers"] for _ in range(2))
    assert first == second
    assert len(first) == 2
    assert len(first[0]["token_ids"]) == len(first[0]["logprobs"])


@pytest.mark.parametrize(
    ("path", "changes", "status", "code"),
    [
        ("/score", {"model_path": "/etc"}, 404, "model.missing"),
        ("/score", {"model_path": "{data}/models/../../secret"}, 404, "model.missing"),
        ("/score", {"messages": []}, 422, "request.invalid"),
        ("/score", {"text": "word " * 5000}, 422, "text.too_long"),
        ("/score", {"model_path": "{data}/base/tiny"}, 422, "model.kind"),
        ("/generate", {}, 422, "model.kind"),
        ("/generate", {"model_path": "{data}/base/tiny", "max_tokens": 2000}, 422, "prompt.too_long"),
        ("/generate", {"model_path": "{data}/base/tiny", "n": 999}, 422, "request.invalid"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_code_and_words(client, data, path, changes, status, code):
    body = {"model_path": "{data}/models/scorer", "messages": ASK, "text": TEXT, **changes}
    body["model_path"] = body["model_path"].format(data=data)
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["message"]


def test_what_is_not_json_is_refused(client):
    answer = client.post("/score", content=b"{")
    assert (answer.status_code, answer.json()["code"]) == (400, "request.unreadable")


def test_the_least_recently_used_model_leaves_when_memory_is_short(data):
    models = Models(data=data.resolve(), budget=1)
    client = TestClient(application(models))
    client.post("/score", json={"model_path": str(data / "models" / "scorer"), "messages": ASK, "text": TEXT})
    assert client.get("/healthz").json()["loaded"] == [str(data / "models" / "scorer")]
    client.post("/generate", json={"model_path": str(data / "base" / "tiny"), "messages": ASK, "max_tokens": 2})
    assert client.get("/healthz").json()["loaded"] == [str(data / "base" / "tiny")]


def test_a_model_moved_with_its_data_folder_finds_its_base_there(data, client):
    card_file = data / "models" / "scorer" / "redpen.json"
    card = json.loads(card_file.read_text())
    card_file.write_text(json.dumps({**card, "base": "/gone/elsewhere/base/tiny"}))
    os.utime(data / "models" / "scorer", (1, 1))  # as if it had just been restored: it is loaded again
    body = {"model_path": str(data / "models" / "scorer"), "messages": ASK, "text": TEXT}
    assert client.post("/score", json=body).status_code == 200


def test_it_serves_a_socket_that_it_is_handed_and_leaves_when_nobody_asks(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "training.serve",
                "--fd",
                str(listener.fileno()),
                "--data",
                str(tmp_path),
                "--idle",
                "2",
            ],
            pass_fds=[listener.fileno()],
        )
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({})
        )  # never through a proxy of the environment
        with opener.open(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:  # waits in the socket's queue
            assert json.load(answer) == {"status": "ok", "loaded": []}
        began = time.monotonic()
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - began > 0.5
