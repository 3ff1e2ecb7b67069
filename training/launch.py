"""The child of a run: `python -m training.launch RUN_DIR` reads run.json, trains, and says all in events.jsonl.

Its parent holds the other end of its standard input: when that closes, the parent is gone and this process ends at
once, so that no run is ever trained twice. SIGTERM asks it to stop between two steps, or within one that takes long.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from training.recipes.base import in_words
from training.recipes.context import Cancelled, Events, RecipeError, RunContext
from training.recipes.registry import NoSuchRecipe, get

if TYPE_CHECKING:
    from training.engine.distributed import Processes

ORPHANED = 76  # exit status when the parent has gone
FAILED = 1
FINISH_SECONDS = 3.0  # of a step after a stop was asked for; the worker kills what is not gone after 6


def main(arguments: list[str]) -> int:
    """Run one attempt; the exit status is 0 when it succeeded or was cancelled, else 1 with an `error` event."""
    if len(arguments) != 1:
        print("usage: python -m training.launch RUN_DIR", file=sys.stderr)  # noqa: T201
        return 2
    directory = Path(arguments[0])
    stop = threading.Event()

    def on_term(signum: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor stops us in its order
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    return attempt(directory, stop)


def attempt(directory: Path, stop: threading.Event) -> int:
    """Carry out what run.json says and end with one of `done`, `cancelled`, `error`."""
    events = Events(directory / "events.jsonl", rank=int(os.environ.get("RANK") or 0))
    try:
        order = json.loads((directory / "run.json").read_text())
        train(order, directory, events, stop)
    except Cancelled:
        events.write("cancelled")
        return 0
    except BaseException as error:  # the process's edge: whatever it is, a person must be able to act on it
        traceback.print_exc()
        events.write("error", **explain(error))
        return FAILED
    events.write("done")
    return 0


def train(order: dict[str, Any], directory: Path, events: Events, stop: threading.Event) -> None:
    """Check the order, load the recipe's parts and train."""
    recipe = get(order["recipe"])
    config = recipe.config(order.get("config") or {})
    models = {kind: Path(path) for kind, path in (order.get("models") or {}).items()}
    if missing := recipe.unmet(models):
        raise RecipeError(
            "run.input_missing",
            f"{recipe.title} needs a {' and a '.join(map(in_words, missing))}.",
            "Choose a trained model for it, or train one first.",
        )
    threads = int(order.get("threads") or os.cpu_count() or 1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # libraries talking to each other

    import numpy as np
    import torch

    from training.engine import policy  # noqa: F401 - transformers and peft are libraries too, and not the run's cost
    from training.engine.models import ensure_base

    torch.set_num_threads(threads)
    here = join_processes()
    seed = int(order.get("seed") or 0)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    run = RunContext(
        directory=directory,
        base_model=Path(order["base_model"]),
        events=events,
        snapshot=Path(order["snapshot"]) if order.get("snapshot") else None,
        prompts_file=_prompts_file(order.get("prompts"), directory),
        models=models,
        seed=seed,
        threads=threads,
        stop=stop,
        finish_seconds=FINISH_SECONDS,
        resume_from=[Path(folder) for folder in order.get("resume_from") or ()],
        checkpoint_seconds=float(order.get("checkpoint_seconds") or 60),
        checkpoint_steps=int(order.get("checkpoint_steps") or 0),
        rank=here.rank,
        world=here.world,
    )
    many = f", {here.world} processes" if here.world > 1 else ""
    run.log(f"{recipe.title} on {threads} thread{'s' if threads > 1 else ''}{many}, seed {seed}.")

    def say(text: str) -> None:
        run.check_stop()
        run.log(text)

    if here.rank:  # the first process unpacks what is packed, and the others find it
        here.gather(None)
    run.base_model = Path(ensure_base(run.base_model, say=say))
    if not here.rank:
        here.gather(None)
    with engine_heard(run), costs_told(run):
        recipe.train(run, config)


@contextmanager
def costs_told(run: RunContext, seconds: float = 60.0) -> Iterator[None]:
    """Say every minute and at the end what this attempt has cost so far: CPU-seconds of this process (and how many it
    took to load the libraries before), peak of its memory in bytes, tokens that models wrote.
    """
    began, loading = time.monotonic(), time.process_time()
    over = threading.Event()

    def tell() -> None:
        run.events.write(
            "costs",
            cpu_seconds=round(time.process_time() - loading, 3),
            loading_cpu_seconds=round(loading, 3),
            seconds=round(time.monotonic() - began, 3),
            peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            tokens_written=run.tokens_written,
        )

    def keep_telling() -> None:
        while not over.wait(seconds):
            tell()

    teller = threading.Thread(target=keep_telling, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
        tell()


@contextmanager
def engine_heard(run: RunContext) -> Iterator[None]:
    """What the engine has to say (that a model is computed the slow way, and why) stands in the run's own log."""

    class Hearer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            run.log(record.getMessage(), level="warning" if record.levelno >= logging.WARNING else "info")

    engine, hearer = logging.getLogger("redpen.engine"), Hearer()
    engine.addHandler(hearer)
    try:
        yield
    finally:
        engine.removeHandler(hearer)


def join_processes() -> Processes:
    """Become one of the processes that accelerate's launcher has started, on the device that is this one's. A process
    alone on a CPU stays what it is, and is spared the import.
    """
    import torch

    from training.engine import distributed

    if int(os.environ.get("WORLD_SIZE") or 1) > 1 or torch.cuda.is_available():
        from accelerate import Accelerator

        return distributed.join(Accelerator(cpu=not torch.cuda.is_available()))
    return distributed.here()


def explain(error: BaseException) -> dict[str, str]:
    """What happened and what to do, in words."""
    if isinstance(error, RecipeError):
        return {"code": error.code, "message": error.message, "action": error.action}
    if isinstance(error, ValidationError):
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return {
            "code": "run.config",
            "message": f"The options cannot be used: {faults}.",
            "action": "Change them and start a new run.",
        }
    if isinstance(error, NoSuchRecipe):
        return {"code": "run.recipe", "message": str(error), "action": "Choose one of these and start a new run."}
    name = type(error).__name__
    if name == "NoSuchBase":
        return {"code": "base_model.missing", "message": str(error), "action": "Choose another base model, or make it."}
    if name == "TemplateRefused":
        return {"code": "base_model.template", "message": str(error), "action": "Choose another base model."}
    if name == "TooLong":
        return {
            "code": "data.too_long",
            "message": str(error),
            "action": "Raise micro_batch_tokens or lower max_tokens.",
        }
    if name == "NotFinite":
        return {
            "code": "run.not_finite",
            "message": str(error),
            "action": "Lower the learning rate, or look at the named records, and start again.",
        }
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return {
            "code": "run.out_of_memory",
            "message": "There is not enough memory for this step.",
            "action": "Halve micro_batch_tokens or max_tokens, or choose a smaller base model.",
        }
    if isinstance(error, FileNotFoundError):
        return {
            "code": "run.file_missing",
            "message": f"The file {error.filename} is not there.",
            "action": "If it was erased or moved, make a new snapshot or model and start again.",
        }
    if isinstance(error, OSError) and error.errno == 28:
        return {"code": "run.disk_full", "message": "The disk is full.", "action": "Free some space and start again."}
    return {
        "code": "run.crashed",
        "message": f"The training stopped on an error it does not know: {name}: {error}",
        "action": "Read the log. If it happens again with the same data, report it with the log.",
    }


def _leave_with_the_parent() -> None:
    """Wait for the end of standard input: it comes when the worker that holds the pipe is gone, however it went."""
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass  # no standard input at all is as good as closed
    os._exit(ORPHANED)


def _prompts_file(prompts: Any, directory: Path) -> Path | None:
    if not prompts:
        return None
    if isinstance(prompts, str):
        return Path(prompts)
    path = directory / "prompts.jsonl"
    path.write_text("".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts))
    return path


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # no destructor of a native library may turn a finished run into a crash
