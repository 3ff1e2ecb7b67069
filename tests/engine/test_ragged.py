import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine.packs import Row, lay_out
from training.engine.ragged import Ragged, Spans

lengths = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(lengths)
def test_rows_keep_their_tokens_in_their_order(rows):
    ragged = Ragged.of_lengths(rows)
    values = torch.arange(1.0, sum(rows) + 1)
    parts = values.split(rows)
    assert ragged.lengths().tolist() == rows
    assert ragged.sum(values).tolist() == [float(part.sum()) for part in parts]
    assert ragged.columns.tolist() == [column for length in rows for column in range(length)]
    assert ragged.starts.tolist() == [sum(rows[:row]) for row in range(len(rows))]
    assert ragged.flat(ragged.padded(values, fill=-1.0)).tolist() == values.tolist()
    assert ragged.spread(torch.arange(len(rows))).tolist() == ragged.row_of.tolist()


def test_a_masked_token_is_in_no_sum_and_no_length():
    ragged = Ragged.of_lengths([2, 1])
    mask = torch.tensor([True, False, False])
    values = torch.tensor([3.0, float("nan"), float("inf")])
    assert ragged.sum(values, mask).tolist() == [3, 0]
    assert ragged.mean(values, mask).tolist() == [3, 0]
    assert ragged.lengths(mask).tolist() == [1, 0]


def test_spans_find_their_tokens():
    ragged = Ragged.of_lengths([3, 0, 4])
    places, of_span = Spans.of([(2, 1, 3), (0, 2, 2), (0, 0, 1)]).places(ragged)
    assert places.tolist() == [4, 5, 0]
    assert of_span.tolist() == [0, 0, 2]
    assert Spans.of([]).spread(torch.zeros(0), ragged).tolist() == [0] * 7


def test_a_pack_gives_its_rows():
    rows = [Row("a", [1, 2, 3], [False, True, True]), Row("b", [1, 2], [False, False]), Row("c", [5, 6], [False, True])]
    pack = lay_out(rows)
    ragged = Ragged(pack.row_of, len(pack.rows))
    values = torch.tensor([1.0, 2.0, 4.0])
    assert ragged.sum(values).tolist() == pack.sum_by_row(values).tolist() == [3, 0, 4]
