"""A checkpoint is whole or is not there; what it gives back is what went in, bit for bit."""

import json
import random

import numpy as np
import pytest
import torch

from training.engine import checkpoints
from training.engine.checkpoints import (
    MANIFEST,
    STATE,
    TENSORS,
    Checkpoints,
    Damaged,
    chance,
    checkpoints_in,
    set_chance,
)


def state_of(step):
    generator = torch.Generator().manual_seed(step)
    return {"step": step, "weights": {"a": torch.rand(3, 2, generator=generator)}, "done": False}


def steps_on_disk(folder):
    return sorted(one.step for one in checkpoints_in(folder))


def test_what_went_in_comes_out_bit_for_bit(tmp_path):
    shared = torch.rand(4)
    state = {
        "half": torch.tensor([1.1, float("nan")], dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
        "part": torch.arange(12.0).reshape(3, 4).T[1:],  # not contiguous
        "twice": [shared, shared[:2]],
        0: {"step": torch.tensor(3.0), "exact": 0.1 + 0.2, "betas": (0.9, 0.999), "nothing": None, "yes": True},
        "dict": {"tensor": "a word that means something else here", "dict": [], "tuple": ()},
        "far": [float("inf"), float("-inf"), 2**80],
    }
    Checkpoints(tmp_path).save(7, state)
    found, back = Checkpoints(tmp_path).newest()
    assert found.step == 7
    assert back["half"].view(torch.int16).tolist() == state["half"].view(torch.int16).tolist()
    assert torch.equal(back["part"], state["part"])
    assert back["none"].shape == (0, 3)
    assert [one.tolist() for one in back["twice"]] == [shared.tolist(), shared[:2].tolist()]
    assert {name: value for name, value in back[0].items() if name != "step"} == {
        name: value for name, value in state[0].items() if name != "step"
    }
    assert back["dict"] == state["dict"]
    assert back["far"] == state["far"]


def test_nothing_is_pickled_and_what_cannot_be_held_is_refused(tmp_path):
    with pytest.raises(TypeError, match="cannot hold a set"):
        Checkpoints(tmp_path).save(1, {"a": {1, 2}})
    Checkpoints(tmp_path).save(1, state_of(1))
    assert sorted(path.name for path in (tmp_path / "step-00000001").iterdir()) == [MANIFEST, STATE, TENSORS]
    json.loads((tmp_path / "step-00000001" / STATE).read_text())


def test_the_last_ones_stay_and_whichever_they_call_the_best(tmp_path):
    kept = Checkpoints(tmp_path, keep=2)
    for step, best in [(1, None), (2, 2), (3, 2), (4, 2)]:
        kept.save(step, state_of(step), best=best)
    assert steps_on_disk(tmp_path) == [2, 3, 4]
    kept.save(5, state_of(5), best=5)
    assert steps_on_disk(tmp_path) == [2, 4, 5]  # an attempt that must go back to 4 still finds 2, its best
    kept.save(6, state_of(6), best=5)
    assert steps_on_disk(tmp_path) == [5, 6]
    assert torch.equal(kept.at(5)["weights"]["a"], state_of(5)["weights"]["a"])
    with pytest.raises(Damaged, match="no whole checkpoint of step 4"):
        kept.at(4)


def test_an_earlier_attempts_checkpoints_are_found_and_left_alone(tmp_path):
    first = Checkpoints(tmp_path / "1", keep=1)
    first.save(3, state_of(3), best=3)
    second = Checkpoints(tmp_path / "2", keep=1, earlier=[tmp_path / "1"])
    assert second.newest()[0].step == 3
    for step in (4, 5):
        second.save(step, state_of(step), best=3)
    assert steps_on_disk(tmp_path / "1") == [3]
    assert steps_on_disk(tmp_path / "2") == [5]
    assert second.newest()[0].step == 5
    assert second.at(3)["step"] == 3


@pytest.mark.parametrize("name", [TENSORS, STATE, MANIFEST])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, name, how):
    kept = Checkpoints(tmp_path)
    kept.save(1, state_of(1))
    kept.save(2, state_of(2))
    path = tmp_path / "step-00000002" / name
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes({"flipped": content, "cut": content[:-9], "empty": b""}[how])
    with pytest.raises(Damaged):
        checkpoints.Checkpoint(path.parent, 2).load()
    found, state = kept.newest()
    assert found.step == state["step"] == 1


def test_without_any_whole_checkpoint_there_is_none(tmp_path):
    assert Checkpoints(tmp_path / "nowhere").newest() is None
    Checkpoints(tmp_path).save(1, state_of(1))
    (tmp_path / "step-00000001" / TENSORS).unlink()
    assert Checkpoints(tmp_path).newest() is None


def test_a_step_that_is_saved_again_replaces_what_stood_there(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save(1, state_of(1))
    (tmp_path / "step-00000001" / STATE).write_text("{")
    (tmp_path / "step-00000009.part").mkdir()  # left by a process that was killed
    kept.save(1, state_of(1))
    assert kept.newest()[1]["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_every_file_is_on_the_disk_before_its_checkpoint_gets_its_name(tmp_path, monkeypatch):
    done = []

    class Watched(checkpoints.Disk):
        def write(self, path, content):
            done.append(("write", path.name))
            super().write(path, content)

        def write_tensors(self, path, tensors):
            done.append(("write", path.name))
            super().write_tensors(path, tensors)

        def sync(self, path):
            done.append(("sync", path.name))
            super().sync(path)

        def rename(self, source, target):
            done.append(("rename", source.name))
            super().rename(source, target)

    monkeypatch.setattr(checkpoints, "disk", Watched())
    Checkpoints(tmp_path / "c").save(1, state_of(1))
    renamed = done.index(("rename", "step-00000001.part"))
    for name in (TENSORS, STATE, MANIFEST):
        assert done.index(("write", name)) < done.index(("sync", name)) < renamed
    assert ("sync", "step-00000001.part") in done[:renamed]
    assert done[renamed + 1] == ("sync", "c")


def test_every_source_of_chance_goes_on_where_it_was():
    def draw():
        return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(2).tolist()

    random.gauss(0, 1), np.random.randn()  # each of them keeps a second number back
    state = chance()
    first = draw()
    draw()
    set_chance(state)
    assert draw() == first
