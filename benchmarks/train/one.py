"""One side of one cell: `python -m benchmarks.train.one JOB` prints what it measured as its last line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.train.cells import Job


def main(text: str) -> None:
    job = Job.from_json(text)
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from benchmarks.train import data
    from benchmarks.train.meter import Meter
    from benchmarks.train.start import start

    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cell, made = job.cell, start(job.cell.model)
    tokenizer = AutoTokenizer.from_pretrained(made.base)
    pairs = data.pairs(tokenizer, cell.shape, cell.steps * cell.examples, folder=Path(job.folder))
    steps = [pairs[at : at + cell.examples] for at in range(0, len(pairs), cell.examples)]
    meter = Meter(job.side, device=job.device)
    if job.side == "ours":
        from benchmarks.train.ours import run
    else:
        from benchmarks.train.peer import run
    run(job, made, steps, meter)
    print(meter.finish().to_json(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
