"""A recipe over two processes: one of them speaks and writes, and what is learned is what one process learns."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.recipes.judged import write_judged
from tests.running import free_port
from tests.tiny_base import REPOSITORY

CONFIG = {
    "passage_tokens": 0,
    "rank": 4,
    "epochs": 1,
    "batch_size": 5,
    "lr": 1e-3,
    "evaluate_every": 2,
    "new_answers": 2,
}
CONFIG |= {"max_new_tokens": 8}
TWO = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]


SHARDS = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
SHARDS += ["--dynamo_backend", "no", "--use_fsdp", "--fsdp_version", "2", "--main_process_port"]


def launched(folder, order, launcher=()):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(order))
    how = [*launcher, str(free_port()), "--module"] if launcher else ["-m"]
    process = subprocess.Popen(
        [sys.executable, *how, "training.launch", folder],
        stdin=subprocess.PIPE,
        stdout=(folder / "log.txt").open("w"),
        stderr=subprocess.STDOUT,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "ACCELERATE_USE_CPU": "true"},
        start_new_session=True,
    )
    try:
        code = process.wait(200)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return code, events


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("launcher", [TWO, SHARDS], ids=["copies", "shards"])
def test_sft_over_two_processes_is_sft_over_one(tmp_path, base, world, launcher):
    data = tmp_path / "data"
    data.mkdir()
    write_judged(data, world, 16, kinds=("demonstration", "verdict"))
    order = {"recipe": "sft", "config": CONFIG, "seed": 3, "threads": 1, "base_model": str(base), "snapshot": str(data)}
    (one, alone), (two, both) = launched(tmp_path / "one", order), launched(tmp_path / "two", order, launcher)
    assert (one, two) == (0, 0), (tmp_path / "two" / "log.txt").read_text()[-3000:]
    assert [event["seq"] for event in both] == list(range(len(both)))
    kinds = [event["type"] for event in both]
    assert (kinds[-1], kinds.count("done"), kinds.count("artifact")) == ("done", 1, 1)
    assert [kind for kind in kinds if kind != "log"] == [event["type"] for event in alone if event["type"] != "log"]
    assert "2 processes" in next(event["text"] for event in both if event["type"] == "log")
    figures = [[event["values"] for event in said if event["type"] == "metrics"] for said in (alone, both)]
    assert len(figures[0]) > 3
    for mine, theirs in zip(*figures, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-3)
    weights = [load_file(str(tmp_path / name / "artifact" / "adapter_model.safetensors")) for name in ("one", "two")]
    assert all(torch.allclose(value, weights[1][name], atol=2e-4) for name, value in weights[0].items())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_error_in_any_of_them_is_said_and_ends_all(tmp_path, base, world):
    order = {"recipe": "sft", "config": {"epochs": 0}, "base_model": str(base), "snapshot": None}
    code, events = launched(tmp_path / "run", order, TWO)
    assert code != 0
    assert {event["code"] for event in events if event["type"] == "error"} == {"run.config"}
