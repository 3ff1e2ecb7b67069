import json
import os
import random

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from tests.recipes.judged import write_judged
from tests.tiny_base import tiny_base
from training.recipes.context import Events, RunContext
from training.recipes.registry import get
from training.worlds.support import World

KINDS = ("invented_fact", "rude_phrase", "missing_step", "rambling")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base():
    """The tiny base model's folder."""
    return tiny_base()


@pytest.fixture(scope="session")
def world():
    return World(0)


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory, world):
    """The world's answers with their true defects marked, as a snapshot's folder."""
    return write_snapshot(tmp_path_factory.mktemp("snapshot"), world, 260)


@pytest.fixture(scope="session")
def judged(tmp_path_factory, world):
    """What simulated people said of whole answers: pairs, orders, numbers, taps, better versions."""
    return write_judged(tmp_path_factory.mktemp("judged"), world, 60)


def write_snapshot(folder, world, count):
    chance = random.Random(0)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for prompt in world.prompts(count, seed=1):
            answer = world.answer(prompt, chance)
            spans = [
                {
                    "start": defect.start,
                    "end": defect.end,
                    "quote": answer.text[defect.start : defect.end],
                    "sentiment": -1,
                    "severity": defect.severity,
                    "label": defect.kind,
                    "author": "truth",
                }
                for defect in world.defects(prompt, answer.text)
            ]
            row = {
                "split": prompt.split,
                "kind": "response",
                "prompt_id": prompt.id,
                "messages": list(prompt.messages),
                "context": list(prompt.context),
                "response_id": f"to {prompt.id}",
                "text": answer.text,
                "spans": spans,
                "reviewed": True,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    labels = [{"id": f"id of {kind}", "key": kind, "name": kind.replace("_", " "), "sentiment": -1} for kind in KINDS]
    (folder / "manifest.json").write_text(json.dumps({"labels": labels}))
    return folder


class Trained:
    """A run that was carried out in this process: its context and what it said."""

    def __init__(self, context):
        self.context = context
        lines = (context.directory / "events.jsonl").read_text(encoding="utf-8").splitlines()
        self.events = [json.loads(line) for line in lines]
        self.artifact = context.directory / "artifact"

    def of(self, kind):
        return [event for event in self.events if event["type"] == kind]

    def figures(self, name):
        return [event["values"][name] for event in self.of("metrics") if name in event["values"]]


def carry_out(directory, recipe, config, **given):
    """Train in this process; given: base_model, snapshot, models, seed, prompts_file."""
    directory.mkdir(parents=True, exist_ok=True)
    context = RunContext(directory=directory, events=Events(directory / "events.jsonl"), **given)
    chosen = get(recipe)
    chosen.train(context, chosen.config(config))
    return Trained(context)


@pytest.fixture(scope="session")
def span_reward_model(tmp_path_factory, base, snapshot):
    """A span reward model of the world, on the tiny base."""
    config = {
        "epochs": 6,
        "batch_size": 8,
        "lr": 3e-3,
        "rank": 8,
        "head_lr": 1e-2,
        "echo": False,
        "passage_tokens": 0,
    }
    return carry_out(
        tmp_path_factory.mktemp("span-reward-model"), "span_reward_model", config, base_model=base, snapshot=snapshot
    )
