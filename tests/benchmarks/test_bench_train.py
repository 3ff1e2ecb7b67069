"""`make bench-train` prints no ratio where the two sides do not do the same."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from benchmarks.train import data, parity
from benchmarks.train.cells import FULL, QUICK, SETTINGS, Cell, Job, committed
from benchmarks.train.meter import Measured, Meter, Step
from benchmarks.train.report import Outcome, last_line
from benchmarks.train.start import Start, start
from tests.tiny_base import REPOSITORY, copy_tiny_base

CONVERSATIONS = [
    ("My parcel is late.", "I am sorry. It comes on Friday.", "Not my problem."),
    ("How do I send shoes back?", "Use the label in the box.", "Shoes are shoes."),
    ("Can I pay by card?", "Yes, with any card.", "Perhaps, who knows, ask somebody else about it."),
    ("Where is my refund?", "It was sent on Monday.", "What refund?"),
]
TINY = {"sft": 2, "dpo": 2, "reward_model": 2, "grpo_update": 1}  # examples a step


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Models to start from and a folder with data, all tiny."""
    folder = tmp_path_factory.mktemp("bench")
    copy_tiny_base(folder / "models" / "tiny")
    (folder / "data" / "hh_rlhf").mkdir(parents=True)
    with gzip.open(folder / "data" / data.FILES["hh"], "wt", encoding="utf-8") as file:
        for asked, chosen, rejected in CONVERSATIONS * 5:
            opening = f"\n\nHuman: {asked}\n\nAssistant: "
            file.write(json.dumps({"chosen": opening + chosen, "rejected": opening + rejected}) + "\n")
    return folder


@pytest.fixture(scope="module")
def made(home) -> Start:
    return start("tiny", home / "models")


def pairs_of(made: Start, home: Path, count: int) -> list[data.Pair]:
    return data.pairs(AutoTokenizer.from_pretrained(made.base), "hh", count, folder=home / "data")


def ours(made: Start, pairs: list[data.Pair], task: str) -> Measured:
    from benchmarks.train.ours import run

    meter = Meter("ours")
    run(Job(side="ours", cell=Cell(task=task, model="tiny")), made, [pairs[:2], pairs[2:]], meter)
    return meter.finish()


def measured(**changes) -> Measured:
    steps = [Step(loss=0.7, grad_norm=2.0, tokens=100, cpu=1.0, wall=1.0) for _ in range(3)]
    return replace(Measured("ours", read="a", rows=4, trained=40, steps=steps, peak_mb=100.0, load=0.5), **changes)


@pytest.mark.parametrize("task", ["sft", "dpo", "reward_model"])
def test_a_side_is_at_parity_with_itself(made, home, task):
    pairs = pairs_of(made, home, 4)
    assert parity.check(task, ours(made, pairs, task), ours(made, pairs, task), steps=2) == {"loss": 0, "grad_norm": 0}


def test_one_side_with_another_token_is_no_parity(made, home):
    pairs = pairs_of(made, home, 4)
    first = pairs[0]
    other = replace(first, chosen_ids=(*first.chosen_ids[:-2], first.chosen_ids[-2] + 1, first.chosen_ids[-1]))
    with pytest.raises(parity.NoParity, match="tokens, their order or their masks"):
        parity.check("dpo", ours(made, pairs, "dpo"), ours(made, [other, *pairs[1:]], "dpo"), steps=2)


def test_one_side_in_another_order_is_no_parity(made, home):
    pairs = pairs_of(made, home, 4)
    with pytest.raises(parity.NoParity, match="their order"):
        parity.check("sft", ours(made, pairs, "sft"), ours(made, pairs[::-1], "sft"), steps=2)


def test_one_side_that_trains_on_the_prompt_is_no_parity(made, home):
    pairs = pairs_of(made, home, 4)
    moved = replace(
        pairs[0], prompt_ids=pairs[0].prompt_ids[:-1], chosen_ids=(pairs[0].prompt_ids[-1], *pairs[0].chosen_ids)
    )
    with pytest.raises(parity.NoParity, match="trained tokens"):
        parity.check("sft", ours(made, pairs, "sft"), ours(made, [moved, *pairs[1:]], "sft"), steps=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss": 0.7002}, "loss of step 3"),
        ({"grad_norm": 2.01}, "grad_norm of step 3"),
        ({"loss": float("nan")}, "loss of step 3"),
        ({"tokens": 101}, "step 3 counts"),
    ],
)
def test_a_step_that_differs_is_no_parity(change, said):
    steps = [*measured().steps[:2], replace(measured().steps[2], **change)]
    with pytest.raises(parity.NoParity, match=said):
        parity.check("dpo", measured(), measured(steps=steps), steps=3)


def test_float32_may_take_a_loss_of_long_sums_further_but_no_more_than_it_can():
    steps = [*measured().steps[:2], replace(measured().steps[2], loss=0.7001)]
    assert parity.check("dpo", measured(), measured(steps=steps), steps=3, rounding=2e-4)
    with pytest.raises(parity.NoParity, match="loss of step 3"):
        parity.check("dpo", measured(), measured(steps=steps), steps=3, rounding=5e-5)


def test_fewer_steps_than_asked_for_are_no_parity():
    with pytest.raises(parity.NoParity, match="must be compared"):
        parity.check("dpo", measured(), measured(), steps=4)


def test_the_first_step_warms_up_and_a_prompt_counts_for_each_of_its_rows(made, home):
    pairs = pairs_of(made, home, 4)
    found = ours(made, pairs, "dpo")
    assert found.tokens == sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in pairs[2:])
    assert found.speed == found.tokens / found.steps[1].cpu


def test_what_is_done_once_counts_by_the_steps_that_count():
    assert measured(once=3.0).cpu == 4.0


def test_no_ratio_by_wall_time_on_a_busy_machine():
    cell = Cell(task="dpo")
    assert Outcome(cell, [measured()], [measured()]).wall_ratio(1) == 1.0
    assert Outcome(cell, [measured()], [measured(load=2.0)]).wall_ratio(1) is None
    assert Outcome(cell, [measured()], [measured(load=2.0)]).wall_ratio(2) == 1.0


def test_the_last_line_has_every_key_and_null_for_what_was_not_measured():
    fast = measured(steps=[replace(step, cpu=0.25) for step in measured().steps], peak_mb=20.0)
    found = last_line(
        [
            Outcome(Cell(task="dpo"), [fast], [measured()]),
            Outcome(Cell(task="dpo", shape="adverse"), [measured()], [measured()]),
            Outcome(Cell(task="sft", shape="adverse"), [fast], [measured()]),
            Outcome(Cell(task="sft"), skipped="no data"),
        ]
    )
    assert len(found) == 24
    assert {key: value for key, value in found.items() if value is not None} == {
        "dpo_speed": 4.0,
        "dpo_memory": 0.2,
        "adverse_speed": 1.0,
    }


def test_a_missing_file_is_said_by_name(made, tmp_path):
    with pytest.raises(data.NoData, match=r"harmless-base\.jsonl\.gz"):
        data.pairs(None, "hh", 1, folder=tmp_path)


def test_every_cell_has_a_committed_setting():
    settings = json.loads(SETTINGS.read_text())["settings"]
    assert all(isinstance(committed(cell, settings), dict) for cell in (*QUICK, *FULL))


def test_adverse_pairs_have_the_lengths_they_promise(made):
    class Words:
        """One token a word."""

        eos_token = "."

        def __call__(self, text, add_special_tokens=False):
            return {"input_ids": [len(word) for word in text.replace(".", " .").split()]}

        def decode(self, ids):
            return " marmalade"

    (pair,) = data.pairs(Words(), "adverse", 1)
    assert (len(pair.prompt_ids), len(pair.chosen_ids), len(pair.rejected_ids)) == (8, 512, 512)


@pytest.mark.slow
@pytest.mark.parametrize("task", TINY)
def test_trl_learns_the_same_from_the_same(home, made, task):
    cell = Cell(task=task, model="tiny", examples=TINY[task], steps=8)
    found = {}
    for side in ("ours", "peer"):
        job = Job(side=side, cell=cell, setting={"batch": 1 if task != "grpo_update" else 4}, folder=str(home / "data"))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.train.one", job.to_json()],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "REDPEN_BENCH_MODELS": str(home / "models"), "PYTHONPATH": f"{REPOSITORY}:platform"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found[side] = Measured.from_json(done.stdout.splitlines()[-1])
    parity.check(cell.name, found["ours"], found["peer"])
