"""One attempt of one run, from the claim to its end: the only place that starts a training."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import threading
import time
from pathlib import Path

from django.db import Error as DatabaseError
from django.db import connection

from training.actions import chains
from training.actions.snapshots import write_snapshot
from training.models import Run, Snapshot
from training.models.runs import RunState
from training.runs import events, lease, outcome, places
from training.runs.child import Child, end_leftovers
from training.runs.lease import Fenced, Heart, Hold

log = logging.getLogger(__name__)
TICK = 0.5  # seconds between two looks at the child
ASK = 1.0  # seconds between two looks at whether somebody has cancelled

# Set when this process is asked to stop: the child is stopped and the run goes back to the queue.
shutting_down = threading.Event()


class Unprepared(Exception):
    """The run cannot start, for a reason that a person can do something about."""

    def __init__(self, code: str, message: str, action: str) -> None:
        super().__init__(message)
        self.code, self.message, self.action = code, message, action


class Patience:
    """Calls the database and, while it is away, again and again, for as long as the lease is held."""

    def __init__(self, heart: Heart) -> None:
        self.heart = heart

    def __call__(self, action, /, *arguments, **options):
        while True:
            try:
                return action(*arguments, **options)
            except DatabaseError as error:
                if not lost_connection(error):
                    raise
                log.warning("run.database_away", extra={"error": type(error).__name__})
                connection.close()
                if self.heart.lost.wait(0.5):
                    raise Fenced("the lease ran out while the database was away") from error


def lost_connection(error: Exception) -> bool:
    from django.db import InterfaceError, OperationalError

    return isinstance(error, OperationalError | InterfaceError)


def work_once(name: str = "") -> bool:
    """Claim the run that is due and carry it to the end of an attempt. False: there was nothing to do."""
    if shutting_down.is_set():
        return False
    chains.move_on()
    hold = lease.claim(name or f"{socket.gethostname()}:{os.getpid()}")
    if hold is None:
        return False
    log.info("run.claimed", extra={"run": str(hold.run_id), "attempt": hold.attempt})
    try:
        carry_out(hold)
    except Fenced as error:
        # Somebody else has it, or will: whoever holds the lease says what becomes of it.
        log.warning("run.let_go", extra={"run": str(hold.run_id), "attempt": hold.attempt, "why": str(error)})
    except Exception as error:  # the process's edge: a fault of ours must not leave the run hanging
        log.exception("run.fault", extra={"run": str(hold.run_id)})
        give_up(hold, error)
    finally:
        connection.close()
    return True


def give_up(hold: Hold, error: Exception) -> None:
    connection.close()
    try:
        lease.start_over(
            hold,
            code="run.fault",
            message=f"The worker met an error that it does not know: {type(error).__name__}: {error}.",
            action="Press Try again. If it happens again, report it with the worker's log.",
        )
    except (Fenced, DatabaseError):
        log.warning("run.let_go", extra={"run": str(hold.run_id), "attempt": hold.attempt})


def carry_out(hold: Hold) -> None:
    held: list[Child] = []
    with Heart(hold, on_lost=lambda: [child.kill() for child in held]) as heart:
        patient = Patience(heart)
        run = patient(Run.objects.select_related("project", "base_model", "snapshot").get, pk=hold.run_id)
        folder = places.attempt_folder(run, hold.attempt)
        end_leftovers(run.pk)
        try:
            if places.adopt_finished(run, hold.attempt):
                patient(lease.say, hold, "The attempt before had come to its end; its result is taken over.")
                stream(hold, folder, heart, patient, child=None)
            else:
                prepare(hold, run, folder, patient)
                child = Child(folder, f"{run.pk}:{hold.attempt}")
                held.append(child)
                try:
                    stream(hold, folder, heart, patient, child)
                finally:
                    child.close()
            conclude(hold, folder, held, patient)
            if patient(Run.objects.filter(pk=run.pk, state__in=(RunState.SUCCEEDED, RunState.FAILED)).exists):
                places.drop_checkpoints(run)  # one that was cancelled may go on from them
            patient(places.drop_old_checkpoints)
        except Unprepared as error:
            patient(lease.fail, hold, code=error.code, message=error.message, action=error.action)
        except OSError as error:
            log.exception("run.os_error", extra={"run": str(run.pk)})
            patient(lease.start_over, hold, **in_words(error))


def prepare(hold: Hold, run: Run, folder: Path, patient: Patience) -> None:
    """The attempt's folder with its run.json, and the snapshot's files if this is the first to need them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if run.snapshot is not None:
        if run.snapshot.state != Snapshot.State.READY:
            patient(lease.say, hold, "The records are being frozen.")
            run.snapshot.project = run.project
            run.snapshot = patient(write_snapshot, run.snapshot)
            patient(lease.say, hold, rows_in_words(run.snapshot))
        if not (places.settings.DATA_DIR / run.snapshot.path / "rows.jsonl").is_file():
            raise Unprepared(
                "snapshot.gone",
                f"The files of the snapshot “{run.snapshot}” are not under {places.settings.DATA_DIR}.",
                "Restore them from a backup, or start a new run, which freezes the records again.",
            )
    order = patient(places.order, run, hold.attempt)
    for kind, path in order["models"].items():
        if not (Path(path) / "redpen.json").is_file():
            raise Unprepared(
                "model.gone",
                f"The files of the {kind.replace('_', ' ')} that this run needs are not at {path}.",
                "Restore them from a backup, or train that model again and choose it.",
            )
    (folder / "run.json").write_text(json.dumps(order, indent=1, ensure_ascii=False) + "\n", "utf-8")


def rows_in_words(snapshot: Snapshot) -> str:
    splits = {"train": 0, "dev": 0, "test": 0}
    for counts in snapshot.counts["rows"].values():
        for split, count in counts.items():
            splits[split] += count
    counted = ", ".join(f"{count} {split}" for split, count in splits.items())
    return f"Snapshot {snapshot.content_hash[:12]}: {counted} rows."


def stream(hold: Hold, folder: Path, heart: Heart, patient: Patience, child: Child | None) -> None:
    """Bring the child's events into the database until it has ended and all is read; stop it when that is wanted."""
    tail = events.Tail(folder / events.NAME)
    asked_at, wanted = 0.0, True
    while True:
        if heart.lost.is_set():
            raise Fenced("the lease was lost")
        alive = child is not None and child.alive()
        read = tail.read()
        if read:
            patient(events.store, hold, read)
            tail.keep()
        elif not alive:
            return
        if time.monotonic() - asked_at > ASK:
            wanted = patient(hold.rows("running").exists)
            asked_at = time.monotonic()
            if not wanted and not patient(hold.rows("cancelling").exists):
                raise Fenced("the run went to somebody else")
        if child is not None and alive:
            if not wanted or shutting_down.is_set():
                child.ask_to_stop()
            elif child.exit_code() is not None:
                child.kill()  # a launcher that died leaves what it started: that must not go on alone
        if len(read) < events.BATCH:
            time.sleep(TICK if alive else 0.05)


def conclude(hold: Hold, folder: Path, held: list[Child], patient: Patience) -> None:
    """What became of it, by the child's last word or, if it had none, by how it ended."""
    word = events.last_word(folder / events.NAME)
    state = patient(lambda: hold.rows().values_list("state", flat=True).first())
    if state is None:
        raise Fenced("the run went to somebody else")
    if state == RunState.CANCELLING:
        patient(lease.cancelled, hold)
    elif word and word["type"] == "done":
        try:
            model = patient(outcome.succeed, hold, folder)
            log.info("run.succeeded", extra={"run": str(hold.run_id), "model": str(model.pk)})
        except outcome.NoArtifact:
            patient(
                lease.fail,
                hold,
                code="run.no_artifact",
                message="The training ended well but left no model.",
                action="Report this with the log: the recipe must end with its artifact.",
            )
    elif word and word["type"] == "error":
        told = {name: str(word.get(name) or "") for name in ("code", "message", "action")}
        patient(lease.fail, hold, **events.storable(told))
    elif shutting_down.is_set():
        patient(lease.hand_back, hold)
    else:
        patient(lease.start_over, hold, **death_in_words(held[0].exit_code() if held else None, folder))


def death_in_words(code: int | None, folder: Path) -> dict[str, str]:
    """A child that ended without a word: killed, most often, and most often for lack of memory."""
    tail = places.log_tail(folder)
    last = "\n" + tail if tail else ""
    killed = code is not None and code < 0 and -code == 9
    how = "was killed (signal 9)" if killed or "SIGKILL" in tail else f"ended with exit code {code}"
    return {
        "code": "run.child_died",
        "message": f"The training process {how} without saying why.{events.storable(last)}",
        "action": "If memory ran out, halve micro_batch_tokens or choose a smaller base model. Then press Try again.",
    }


def in_words(error: OSError) -> dict[str, str]:
    if error.errno == 28:
        return {
            "code": "run.disk_full",
            "message": "The disk is full.",
            "action": "Free some space and press Try again.",
        }
    return {
        "code": "run.files",
        "message": f"A file could not be read or written: {error}.",
        "action": "See that the data folder is there and writable, then press Try again.",
    }
