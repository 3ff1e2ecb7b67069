"""Two real processes over gloo learn what one learns: as copies (DDP), and in shards (FSDP)."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.engine import distributed_child
from tests.running import free_port
from tests.tiny_base import REPOSITORY
from training.engine.distributed import Processes

COPIES = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
SHARDS = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
SHARDS += ["--dynamo_backend", "no", "--use_fsdp", "--fsdp_version", "2", "--main_process_port"]


def train(base, out, launcher=()):
    how = [*launcher, str(free_port()), "--module"] if launcher else ["-m"]
    process = subprocess.Popen(
        [sys.executable, *how, "tests.engine.distributed_child", base, out],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=200)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a process that waits for another waits for ever
    assert process.returncode == 0, said[-6000:]
    return Learned(out)


class Learned:
    def __init__(self, out):
        self.out = out
        self.world, self.sharded = json.loads((out / "world.json").read_text())
        self.events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        self.figures = [event["values"] for event in self.events if event["type"] == "metrics"]
        kept = torch.load(out / "learned.pt", weights_only=True)
        self.gradients, self.weights = kept["gradients"], kept["weights"]
        self.adapter = load_file(str(out / "artifact" / "adapter_model.safetensors"))


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "now"
    distributed_child.main(base, out)
    learned = Learned(out)
    assert (learned.world, learned.sharded) == (1, False)
    return learned


def same_training(one, other):
    assert len(one.figures) == len(other.figures) == 6
    for mine, theirs in zip(one.figures, other.figures, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4), (mine, theirs)
    assert len(one.gradients) == len(other.gradients) == 6
    for mine, theirs in zip(one.gradients, other.gradients, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=2e-5), (a - b).abs().max()
    for name, value in one.weights.items():
        assert torch.allclose(value, other.weights[name], rtol=1e-3, atol=2e-4), name
    assert set(one.adapter) == set(other.adapter)
    assert all(torch.allclose(value, other.adapter[name], rtol=1e-3, atol=2e-4) for name, value in one.adapter.items())


def test_two_copies_learn_what_one_process_learns(base, alone, tmp_path):
    copies = train(base, tmp_path / "now", COPIES)
    assert (copies.world, copies.sharded) == (2, False)
    same_training(copies, alone)
    assert [event["seq"] for event in copies.events] == list(range(len(copies.events)))  # the first speaks alone


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("launcher", "sharded"), [(COPIES, False), (SHARDS, True)], ids=["copies", "shards"])
def test_two_processes_learn_what_one_learns_and_go_on_after_a_stop(base, alone, tmp_path, launcher, sharded):
    both = train(base, tmp_path / "before", launcher)
    assert (both.world, both.sharded) == (2, sharded)
    same_training(both, alone)
    shutil.rmtree(tmp_path / "before" / "checkpoints" / "step-00000006")  # as if it had ended in the last step
    again = train(base, tmp_path / "after", launcher)
    assert again.events[0]["step"] == 5
    assert again.figures == both.figures[-1:]
    assert all(torch.equal(value, both.weights[name]) for name, value in again.weights.items())


def test_the_shares_of_all_processes_are_everything_once():
    for world in (1, 2, 3, 8):
        shares = [Processes(rank=rank, world=world).share("abcdefg") for rank in range(world)]
        assert sorted(sum(shares, [])) == list("abcdefg")
