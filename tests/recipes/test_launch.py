"""The child of a run as a real process: what it says, how it ends, and that it never outlives its parent."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from training.launch import ORPHANED, attempt, explain
from training.recipes.context import RecipeError

CONFIG = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "rank": 4, "echo": False, "passage_tokens": 0, "max_left_out": 1.0}


def order(directory, base, data, **changes):
    run = {
        "run_id": "r",
        "attempt": 1,
        "recipe": "span_reward_model",
        "config": CONFIG,
        "seed": 0,
        "threads": 1,
        "base_model": str(base),
        "snapshot": str(data),
        "models": {},
        **changes,
    }
    (directory / "run.json").write_text(json.dumps(run))


def start(directory):
    return subprocess.Popen(
        [sys.executable, "-m", "training.launch", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(directory):
    path = directory / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(directory, kind, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if any(event["type"] == kind for event in events(directory)):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError(f"no {kind} event within {seconds} s: {events(directory)}")


def test_a_run_is_carried_out_and_its_artifact_is_where_it_says(tmp_path, base, snapshot):
    order(tmp_path, base, snapshot)
    with start(tmp_path) as process:
        process.wait(timeout=240)
        said = events(tmp_path)
        assert process.returncode == 0, process.stderr.read()
    assert said[-1]["type"] == "done"
    assert [event["seq"] for event in said] == list(range(len(said)))
    (artifact,) = [event for event in said if event["type"] == "artifact"]
    assert (tmp_path / artifact["path"] / "redpen.json").exists()
    assert {"log", "metrics", "sample"} <= {event["type"] for event in said}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"recipe": "raft", "config": {}}, "run.input_missing", "needs a reward model or span reward model"),
        ({"config": {"epochs": 0, "eposh": 1}}, "run.config", "epochs: Input should be greater"),
        ({"recipe": "alchemy"}, "run.recipe", "no recipe named 'alchemy'"),
        ({"base_model": "/nowhere/llama"}, "base_model.missing", "no base model at /nowhere/llama"),
        ({"snapshot": "/nowhere/snapshot"}, "run.file_missing", "/nowhere/snapshot/rows.jsonl"),
        ({"config": {**CONFIG, "max_tokens": 16}}, "data.no_marks", "None of the 0"),
    ],
)
def test_what_goes_wrong_is_said_in_words_that_a_person_can_act_on(tmp_path, base, snapshot, changes, code, words):
    order(tmp_path, base, snapshot, **changes)
    assert attempt(tmp_path, threading.Event()) == 1
    last = events(tmp_path)[-1]
    assert (last["type"], last["code"]) == ("error", code)
    assert words in last["message"]
    assert last["action"]


def test_sigterm_ends_it_between_two_steps_with_a_word(tmp_path, base, snapshot):
    order(tmp_path, base, snapshot, config={**CONFIG, "epochs": 50})
    with start(tmp_path) as process:
        wait_for(tmp_path, "metrics", process)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert process.returncode == 0
    assert events(tmp_path)[-1]["type"] == "cancelled"
    assert not [event for event in events(tmp_path) if event["type"] in ("artifact", "done", "error")]


def test_it_ends_at_once_when_its_parent_is_gone(tmp_path, base, snapshot):
    order(tmp_path, base, snapshot, config={**CONFIG, "epochs": 50})
    with start(tmp_path) as process:
        wait_for(tmp_path, "metrics", process)
        process.stdin.close()  # what the kernel does when the worker dies, however it dies
        process.wait(timeout=20)
    assert process.returncode == ORPHANED
    assert events(tmp_path)[-1]["type"] != "done"


def test_errors_that_nobody_foresaw_are_named_and_the_log_is_pointed_to():
    said = explain(ZeroDivisionError("division by zero"))
    assert said["code"] == "run.crashed"
    assert "ZeroDivisionError: division by zero" in said["message"]
    assert explain(RecipeError("a.b", "It is so.", "Do this.")) == {
        "code": "a.b",
        "message": "It is so.",
        "action": "Do this.",
    }
    assert explain(OSError(28, os.strerror(28)))["code"] == "run.disk_full"
    assert explain(RuntimeError("DefaultCPUAllocator: can't allocate memory"))["code"] == "run.out_of_memory"
