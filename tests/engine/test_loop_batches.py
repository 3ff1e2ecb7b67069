"""Batches: who comes when, and that one can leave and come back."""

from collections import Counter

import pytest

from training.engine.loop import Batches, batches


def test_every_epoch_holds_every_item_once_in_an_order_of_its_own():
    found = list(Batches("abcdefg", size=3, epochs=2, seed=1))
    assert [len(batch) for batch in found] == [3, 3, 1, 3, 3, 1]
    first, second = sum(found[:3], []), sum(found[3:], [])
    assert sorted(first) == sorted(second) == list("abcdefg")
    assert first != second
    assert found == list(batches("abcdefg", size=3, epochs=2, seed=1))
    assert found != list(Batches("abcdefg", size=3, epochs=2, seed=2))


@pytest.mark.parametrize(
    ("items", "size", "steps"), [(7, 3, 20), (7, 7, 4), (5, 4, 13), (8, 2, 9), (3, 10, 4), (1, 1, 3)]
)
def test_with_steps_every_batch_is_full_and_nobody_comes_again_before_all_have_come(items, size, steps):
    found = list(Batches(range(items), size=size, steps=steps, seed=3))
    size = min(size, items)
    assert [len(batch) for batch in found] == [size] * steps
    assert all(len(set(batch)) == size for batch in found)
    seen = Counter()
    for item in sum(found, []):
        assert seen[item] == min(seen[other] for other in range(items))
        seen[item] += 1


def test_a_cursor_goes_on_where_it_was_left():
    for lengths in ({"epochs": 3}, {"steps": 9}):
        whole = list(Batches(range(10), size=4, seed=5, **lengths))
        for left in range(len(whole) + 1):
            one, other = (Batches(range(10), size=4, seed=5, **lengths) for _ in range(2))
            walked = [next(iter(one)) for _ in range(left)]
            other.load_state_dict(one.state_dict())
            assert walked + list(other) == whole
            assert list(other) == []


def test_a_cursor_of_other_batches_is_refused():
    with pytest.raises(ValueError, match="not those of the checkpoint"):
        Batches(range(10), size=4, epochs=1).load_state_dict(Batches(range(11), size=4, epochs=1).state_dict())


def test_nothing_gives_nothing():
    assert list(Batches([], size=4, epochs=2)) == list(Batches([], size=4, steps=2)) == []
    with pytest.raises(ValueError, match="either epochs or steps"):
        Batches([1], size=1)
