"""`make bench-train` (quick), `bench-train-full`, `bench-train-tune`; the package says what is done.

quick   every task on the 25M model, two tasks of the 135M; ours, TRL, ours. Under 20 minutes on two quiet cores.
full    three shapes of data, both models, five runs of each side in ABBA order, on one thread and on two. Hours.
tune    tries TRL's settings and writes the best of each cell to peer.json. About half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import finish, say
from benchmarks.train import machine, parity
from benchmarks.train.cells import FULL, QUICK, SETTINGS, TUNED, Cell, Job, Side, candidates, committed
from benchmarks.train.data import DATA, FILES
from benchmarks.train.meter import Measured
from benchmarks.train.report import Outcome, last_line
from benchmarks.train.start import start

ORDERS: dict[str, tuple[Side, ...]] = {
    "quick": ("ours", "peer", "ours"),
    "full": ("ours", "peer", "peer", "ours", "ours", "peer", "peer", "ours", "ours", "peer"),
}


class Broken(Exception):
    """A process of one side failed; the message is what it said last."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.train", description=__doc__.splitlines()[0])
    parser.add_argument("form", nargs="?", default="quick", choices=("quick", "full", "tune"))
    parser.add_argument("--only", nargs="*", default=(), help="names of cells, as the report prints them")
    parser.add_argument("--steps", type=int, help="steps of each cell, the warm-up among them")
    parser.add_argument("--data", type=Path, default=DATA, help="a folder with the same files, other examples")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="cuda: unproven so far")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="bf16: on a GPU only, unproven")
    chosen = parser.parse_args(arguments)
    if reason := unusable(chosen.device, chosen.precision):
        say(f"Skipped: {reason}")
        finish(**last_line([]))
        return
    cells = {"quick": QUICK, "full": FULL, "tune": TUNED}[chosen.form]
    cells = tuple(cell for cell in cells if not chosen.only or cell.name in chosen.only)
    if chosen.steps:
        cells = tuple(replace(cell, steps=chosen.steps) for cell in cells)
    for name, value in machine.describe().items():
        say(f"{name:<13} {value}")
    for model in dict.fromkeys(cell.model for cell in cells):
        start(model)
    if chosen.form == "tune":
        tune(cells, chosen)
        return
    rates = {threads: machine.matmul_rate(threads) for threads in ((1, 2) if chosen.form == "full" else (1,))}
    found: dict[int, list[Outcome]] = {}
    for threads, rate in rates.items():
        say(f"\n{threads} thread{'s' * (threads > 1)}; its own matrix product: {rate / 1e9:.0f} GFLOP a CPU-second")
        found[threads] = []
        for cell in cells:
            try:
                outcome = measure(cell, ORDERS[chosen.form], chosen, threads)
            except Broken as error:
                say(str(error))
                outcome = Outcome(cell, skipped="one side failed, see above")
            found[threads].append(outcome)
            for line in outcome.lines(threads=threads, rate=rate):
                say(line)
    finish(**last_line(found[1]))
    if any("failed" in outcome.skipped for outcomes in found.values() for outcome in outcomes):
        raise SystemExit(1)


def unusable(device: str, precision: str) -> str:
    """Why this cannot be measured here, or nothing."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return "there is no GPU here; bf16, FlexAttention and fused optimisers stay unproven until there is one."
    if device == "cpu" and precision == "bf16":
        return "bf16 is compared on a GPU only."
    return ""


def measure(cell: Cell, order: Sequence[Side], chosen: argparse.Namespace, threads: int) -> Outcome:
    """All runs of one cell. Parity is asked for as soon as both sides have run once; without it this ends."""
    found = Outcome(cell, wall=chosen.device != "cpu")
    if cell.shape != "adverse" and not (path := chosen.data / FILES[cell.shape]).exists():
        found.skipped = f"{path} is missing"
        return found
    settings = json.loads(SETTINGS.read_text())["settings"]
    theirs = committed(cell, settings)
    if cell.compared and chosen.precision != "fp32":  # rounding hides what parity looks for
        sides = {side: run_one(side, cell, theirs, chosen, threads, precision="fp32") for side in ("ours", "peer")}
        found.apart = at_parity(cell, sides["ours"], sides["peer"])
    for side in order:
        one = run_one(side, cell, theirs, chosen, threads, precision=chosen.precision)
        (found.ours if side == "ours" else found.theirs).append(one)
        if cell.compared and chosen.precision == "fp32" and found.ours and found.theirs and not found.apart:
            found.apart = at_parity(cell, found.ours[0], one)
    return found


def at_parity(cell: Cell, ours: Measured, theirs: Measured) -> dict[str, float]:
    """How far the two are apart; NoParity where that is too far."""
    return parity.check(cell.name, ours, theirs, steps=min(parity.STEPS, cell.steps), rounding=cell.rounding)


def run_one(
    side: Side, cell: Cell, setting: dict[str, Any], chosen: argparse.Namespace, threads: int = 1, *, precision: str
) -> Measured:
    """One side of a cell, in a process of its own."""
    job = Job(
        side=side,
        cell=cell,
        setting=setting if side == "peer" else {},
        threads=threads,
        device=chosen.device,
        precision=precision,  # type: ignore[arg-type]
        folder=str(chosen.data),
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.train.one", job.to_json()],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"},
    )
    if done.returncode:
        raise Broken(f"{side} of {cell.name} failed:\n{done.stderr[-3000:]}")
    return Measured.from_json(done.stdout.splitlines()[-1])


def tune(cells: Sequence[Cell], chosen: argparse.Namespace) -> None:
    """Try TRL's settings, keep the fastest of each cell. Cells that were not asked for keep what they had."""
    known = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {"settings": {}, "tried": {}}
    for cell in cells:
        tried = []
        for setting in candidates(cell):
            began = time.monotonic()
            try:
                one = run_one("peer", cell, setting, chosen, precision=chosen.precision)
            except Broken as error:
                tried.append({"setting": setting, "failed": str(error).strip().splitlines()[-1][:200]})
            else:
                speed, peak = round(one.speed, 1), round(one.peak_mb)
                tried.append({"setting": setting, "tokens_per_cpu_second": speed, "peak_mb": peak})
            say(f"{cell.name:<20} {tried[-1]} ({time.monotonic() - began:.0f} s)")
        worked = [one for one in tried if "failed" not in one]
        known["settings"][cell.name] = max(worked, key=lambda one: one["tokens_per_cpu_second"])["setting"]
        known["tried"][cell.name] = tried
        known["tuned"] = {"date": datetime.now(UTC).date().isoformat(), **machine.describe()}
        SETTINGS.write_text(json.dumps(known, indent=1) + "\n")
    finish(settings=known["settings"], cells=[asdict(cell) for cell in cells])


if __name__ == "__main__":
    try:
        main()
    except parity.NoParity as error:
        raise SystemExit(f"{error}\nNo ratio is printed.") from error
