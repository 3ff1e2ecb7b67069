"""kill -9 of a real training at any moment: the losses and the final weights are those of one that was left alone."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.faults.toy_training import told_by_platform
from tests.recipes.judged import write_judged
from tests.tiny_base import REPOSITORY, tiny_base
from training.engine.checkpoints import checkpoints_in
from training.worlds.support import World

LEARNED = {"passage_tokens": 0, "rank": 4, "epochs": 2, "batch_size": 4, "lr": 1e-3, "evaluate_every": 3}
WRITES = {"new_answers": 2, "max_new_tokens": 8}
PRACTISED = {
    **WRITES,
    "passage_tokens": 0,
    "rank": 4,
    "prompts": 3,
    "samples": 4,
    "held_out": 2,
    "every": 3,
    "lr": 1e-3,
}
RECIPES = {
    "sft": {**LEARNED, **WRITES},
    "dpo": {**LEARNED, **WRITES},
    "grpo": {**PRACTISED, "steps": 9, "beta": 0.01, "updates": 2},
    "ppo": {**PRACTISED, "steps": 9},
    "reward_model": LEARNED,
}
JUDGED = ("grpo", "ppo")  # they need a reward model
KINDS = ("preference", "demonstration", "verdict")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_judged(tmp_path_factory.mktemp("judged"), World(0), 20, kinds=KINDS)
    given = {"base_model": str(tiny_base()), "snapshot": str(folder)}
    judge = Attempt(tmp_path_factory.mktemp("judge"), 1, given, "reward_model")
    judge.result()
    return {**given, "judge": str(judge.folder / "artifact")}


class Attempt:
    """A real child that trains, as a worker starts it, but for accelerate's launcher."""

    def __init__(self, run, number, data, recipe):
        self.folder = run / f"attempt-{number}"
        self.folder.mkdir(parents=True)
        before = [str(run / f"attempt-{earlier}") for earlier in range(number - 1, 0, -1)]
        models = {"reward_model": data["judge"]} if recipe in JUDGED else {}
        order = {**data, "models": models, "recipe": recipe, "config": RECIPES[recipe], "seed": 5, "threads": 1}
        order |= {"resume_from": before, "checkpoint_steps": 1}
        (self.folder / "run.json").write_text(json.dumps(order))
        self.saved = set()
        self.log = (self.folder / "log.txt").open("w")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "training.launch", self.folder],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def done(self):
        """How many steps this attempt has saved by itself."""
        found = {one.step for one in checkpoints_in(self.folder / "checkpoints")}
        self.saved |= found
        return len(self.saved)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self):
        code = self.process.wait(250)
        self.process.stdin.close()
        self.log.close()
        self.seconds = time.monotonic() - self.started
        return code

    def result(self):
        """What is left of a training: what was said of it, and the files that it made."""
        assert self.end() == 0, (self.folder / "log.txt").read_text()[-3000:]
        files = {
            str(path.relative_to(self.folder)): hashlib.sha256(content_of(path)).hexdigest()
            for path in sorted((self.folder / "artifact").rglob("*"))
            if path.is_file()
        }
        assert any(name.endswith(".safetensors") for name in files)
        return told_by_platform(self.folder), files


def content_of(path):
    """A file's bytes. peft lists the layers that it adapts in the order of a set, another in every process."""
    if path.name != "adapter_config.json":
        return path.read_bytes()
    config = json.loads(path.read_text())
    return json.dumps({**config, "target_modules": sorted(config["target_modules"])}).encode()


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    """The results of runs that were left alone, made when they are asked for."""
    known = {}

    def of(recipe):
        if recipe not in known:
            attempt = Attempt(tmp_path_factory.mktemp(recipe), 1, data, recipe)
            known[recipe] = (attempt.result(), attempt.seconds)
        return known[recipe]

    return of


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("recipe", ["sft", "dpo", "grpo"])
def test_killed_three_times_in_one_run_it_comes_to_the_same_end(data, unbroken, tmp_path, recipe):
    expected, _ = unbroken(recipe)
    chance = random.Random(f"three kills of {recipe}")
    for number in (1, 2, 3):
        attempt = Attempt(tmp_path, number, data, recipe)
        steps = chance.randint(1, 2)
        while attempt.done() < steps and attempt.process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.3)
        attempt.kill()
        assert attempt.process.returncode == -signal.SIGKILL, "it had ended already: make it longer"
    last = Attempt(tmp_path, 4, data, recipe)
    assert last.result() == expected
    assert '"type": "resumed"' in (last.folder / "events.jsonl").read_text()


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("recipe", list(RECIPES))
def test_killed_at_twenty_moments_it_comes_to_the_same_end(data, unbroken, tmp_path, recipe):
    """From the first import to the last file that is written: moments of chance over the whole time of a run."""
    expected, seconds = unbroken(recipe)
    chance = random.Random(f"twenty kills of {recipe}")
    kills = tries = 0
    while kills < 20:
        run = tmp_path / str(tries)
        tries += 1
        first = Attempt(run, 1, data, recipe)
        try:
            first.process.wait(chance.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            first.process.send_signal(signal.SIGKILL)
        if first.end() == 0:  # it was quicker than the moment that was chosen
            seconds = min(seconds, first.seconds)
        else:
            kills += 1
            assert Attempt(run, 2, data, recipe).result() == expected, f"kill {kills}, in {run}"
