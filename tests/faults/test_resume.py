"""A training that is stopped at any moment goes on as if it had not been: losses and weights to the last bit."""

import errno

import pytest

from tests.faults.toy_training import Stopped, attempt, told, train
from training.engine import checkpoints
from training.recipes.context import Cancelled, RecipeError


class Breaking(checkpoints.Disk):
    """Stops the process at one of the operations of the disk: before it, in the middle of it, or right after it."""

    def __init__(self, at, how):
        self.left, self.how = at, how

    def _do(self, operation, *arguments):
        self.left -= 1
        if self.left == 0 and self.how == "before":
            raise Stopped
        getattr(super(), operation)(*arguments)
        if self.left == 0 and self.how == "torn" and operation.startswith("write"):
            content = arguments[0].read_bytes()
            arguments[0].write_bytes(content[: len(content) // 2])
        if self.left == 0:
            raise Stopped

    def make(self, *arguments):
        self._do("make", *arguments)

    def write(self, *arguments):
        self._do("write", *arguments)

    def write_tensors(self, *arguments):
        self._do("write_tensors", *arguments)

    def sync(self, *arguments):
        self._do("sync", *arguments)

    def rename(self, *arguments):
        self._do("rename", *arguments)

    def remove(self, *arguments):
        self._do("remove", *arguments)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Waiting for a real disk would make these tests minutes; that it is waited for is test_checkpoints' business."""
    monkeypatch.setattr(checkpoints.Disk, "sync", lambda self, path: None)


@pytest.fixture
def unbroken(tmp_path):
    weights = train(attempt(tmp_path / "whole" / "attempt-1"))
    return weights, told(tmp_path / "whole" / "attempt-1")


def stopped(context, monkeypatch, *, at, how, **options):
    """Train until the disk breaks at its operation number `at`; whether it came to that."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "disk", Breaking(at, how))
        try:
            train(context, **options)
        except Stopped:
            return True
    return False


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_stopped_at_every_operation_of_the_disk_it_comes_to_the_same_end(tmp_path, unbroken, monkeypatch, how):
    tried = 0
    while True:
        tried += 1
        folder = tmp_path / f"at-{tried}"
        if not stopped(attempt(folder / "attempt-1", checkpoint_steps=2), monkeypatch, at=tried, how=how):
            break
        again = attempt(folder / "attempt-2", before=[folder / "attempt-1"], checkpoint_steps=0)
        assert (train(again), told(folder / "attempt-2")) == unbroken, f"stopped {how} operation {tried}"
    assert tried > 3 * 11


def test_stopped_again_and_again_it_comes_to_the_same_end(tmp_path, unbroken, monkeypatch):
    before = []
    for number in range(1, 20):
        folder = tmp_path / f"attempt-{number}"
        if not stopped(attempt(folder, before=before[::-1]), monkeypatch, at=16, how="before"):
            break
        before.append(folder)
    assert number > 4
    assert told(folder) == unbroken[1]


@pytest.mark.parametrize("number", range(6))
def test_stopped_within_a_step_it_does_that_step_again(tmp_path, unbroken, number):
    def stop(at):
        if at == number:
            raise Stopped

    with pytest.raises(Stopped):
        train(attempt(tmp_path / "attempt-1", checkpoint_steps=2), at_step=stop)
    again = attempt(tmp_path / "attempt-2", before=[tmp_path / "attempt-1"])
    assert (again.resumed.step if again.resumed else 0) == number // 2 * 2
    assert (train(again), told(tmp_path / "attempt-2")) == unbroken


def test_checkpoints_are_written_by_the_clock_unless_asked_otherwise(tmp_path):
    quiet = attempt(tmp_path / "attempt-1", checkpoint_steps=0, checkpoint_seconds=3600)
    train(quiet)
    assert quiet.checkpoints.newest()[0].step == 6  # the end of the training is kept in any case
    assert len(list(checkpoints.checkpoints_in(quiet.directory / "checkpoints"))) == 1
    often = attempt(tmp_path / "attempt-2", checkpoint_steps=0, checkpoint_seconds=0)
    train(often)
    assert sorted(one.step for one in checkpoints.checkpoints_in(often.directory / "checkpoints")) == [5, 6]


def test_the_best_weights_are_put_back_and_an_attempt_after_the_best_finds_them(tmp_path, monkeypatch):
    whole = attempt(tmp_path / "whole" / "attempt-1")
    weights = train(whole, best="min dev", epochs=4)
    dev = {
        event["step"]: event["values"]["dev"] for event in told(whole.directory)[0] if "dev" in event.get("values", {})
    }
    best = min(dev, key=dev.get)
    assert best not in (2, 12), dev  # or the test would show nothing; then take another seed
    saved = whole.checkpoints.at(best)["parts"]["net"]
    assert weights == {name: value.tolist() for name, value in saved.items()}

    def stop(at):
        if at == best + 1:
            raise Stopped

    with pytest.raises(Stopped):
        train(attempt(tmp_path / "attempt-1"), best="min dev", epochs=4, at_step=stop)
    again = attempt(tmp_path / "attempt-2", before=[tmp_path / "attempt-1"])
    assert train(again, best="min dev", epochs=4) == weights
    third = attempt(tmp_path / "attempt-3", before=[tmp_path / "attempt-2", tmp_path / "attempt-1"])
    assert third.resumed.step == 12
    assert train(third, best="min dev", epochs=4) == weights  # its training was over; nothing is trained again
    assert told(tmp_path / "attempt-3") == told(whole.directory)


def test_without_a_better_value_for_long_the_training_ends(tmp_path):
    run = attempt(tmp_path / "attempt-1")
    weights = train(run, best="max dev", patience=2, epochs=4)
    dev = [event["values"]["dev"] for event in told(run.directory)[0] if "dev" in event.get("values", {})]
    assert len(dev) < 6
    assert max(dev[-2:]) <= max(dev[:-2]) == dev[-3]
    again = attempt(tmp_path / "attempt-2", before=[tmp_path / "attempt-1"])
    assert train(again, best="max dev", patience=2, epochs=4) == weights


def test_asked_to_stop_it_saves_first(tmp_path, unbroken):
    run = attempt(tmp_path / "attempt-1", checkpoint_steps=0)

    def stop(at):
        if at == 3:
            run.stop.set()

    with pytest.raises(Cancelled):
        train(run, at_step=stop)
    again = attempt(tmp_path / "attempt-2", before=[tmp_path / "attempt-1"])
    assert again.resumed.step == 4
    assert (train(again), told(tmp_path / "attempt-2")) == unbroken


@pytest.mark.parametrize(("seconds", "saved"), [(60.0, True), (0.0, False)])
def test_a_step_that_can_end_soon_is_finished_and_saved_and_a_long_one_is_left(tmp_path, unbroken, seconds, saved):
    run = attempt(tmp_path / "attempt-1", checkpoint_steps=0, finish_seconds=seconds)

    def stop(at):
        if at == 3:
            run.stop.set()
            run.check_stop()

    with pytest.raises(Cancelled):
        train(run, at_step=stop)
    again = attempt(tmp_path / "attempt-2", before=[tmp_path / "attempt-1"])
    assert (again.resumed.step if again.resumed else None) == (4 if saved else None)
    assert (train(again), told(tmp_path / "attempt-2")) == unbroken


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path, unbroken, monkeypatch):
    class Full(checkpoints.Disk):
        def write(self, path, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "disk", Full())
    assert train(attempt(tmp_path / "attempt-1")) == unbroken[0]
    assert "could not be written" in (tmp_path / "attempt-1" / "events.jsonl").read_text()


def test_records_that_were_erased_meanwhile_are_not_taken_for_others(tmp_path):
    train(attempt(tmp_path / "attempt-1"))
    again = attempt(tmp_path / "attempt-2", before=[tmp_path / "attempt-1"])
    with pytest.raises(RecipeError, match="records may have been erased") as caught:
        train(again, rows=9)
    assert caught.value.code == "run.data_changed"
