"""Comparisons' arithmetic: intervals, paired tests, the table, the plot."""

import xml.etree.ElementTree as ElementTree

import pytest

from training.compare.plot import svg
from training.compare.report import Measured, markdown, report_of
from training.compare.stats import distribution, holm, interval, paired, quantile


def test_students_quantiles_are_those_of_the_tables():
    for share, freedom, value in ((0.975, 1, 12.7062), (0.975, 4, 2.77645), (0.975, 30, 2.04227), (0.95, 10, 1.81246)):
        assert quantile(share, freedom) == pytest.approx(value, rel=1e-5)
    assert distribution(2.228139, 10) == pytest.approx(0.975, abs=1e-6)
    assert distribution(-2.228139, 10) == pytest.approx(0.025, abs=1e-6)


def test_an_interval_is_the_mean_and_its_share_of_the_spread():
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.mean, found.n) == (3.0, 5)
    assert found.high - found.mean == pytest.approx(2.776445 * (2.5**0.5) / 5**0.5)
    assert (interval([2.0]).low, interval([2.0]).high) == (None, None)
    with pytest.raises(ValueError):
        interval([])


def test_a_paired_test_looks_at_the_seeds_that_both_have():
    found = paired({0: 1.0, 1: 2.0, 2: 3.5, 9: 0.0}, {0: 0.5, 1: 1.0, 2: 3.0, 8: 7.0})
    assert found.difference.mean == pytest.approx(2 / 3)
    assert found.p == pytest.approx(0.057191, abs=1e-5)  # t = 4 at two degrees of freedom
    assert paired({0: 1.0}, {1: 1.0}) is None
    assert paired({0: 1.0}, {0: 0.5}).p is None


def test_holm_makes_the_smallest_p_pay_for_all_tests():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])


def measured(subject, seed, worth, **fields):
    answers = fields.pop("answers", [("p", worth), ("q", worth)])
    given = {"acts": 200, "tokens": 1000.0, "cpu_seconds": 5.0, "memory": 2.0**28, "run": 1, **fields}
    return Measured(subject=subject, seed=seed, metric="truth/quality", worth=worth, answers=answers, **given)


def a_report():
    rows = [measured("before", None, 0.4, acts=0)]
    rows += [measured("grpo", seed, 0.7 + 0.01 * seed) for seed in range(3)]
    rows += [measured("sft", seed, 0.5 + 0.02 * seed, tokens=0.0) for seed in range(3)]
    return report_of(rows, order=("before", "sft", "grpo"))


def test_the_table_has_the_best_first_with_what_it_cost():
    report = a_report()
    assert [line.subject for line in report.lines] == ["grpo", "sft"]
    assert report.lines[0].rise.mean == pytest.approx(0.31)
    assert [(one.a, one.b) for one in report.against] == [("grpo", "sft")]
    assert report.against[0].paired.difference.mean == pytest.approx(0.19)
    table = markdown(report)
    assert "| grpo | 0.710 (0.685 to 0.735) | +0.310" in table
    assert "| sft | +0.190" in table


def test_wins_are_counted_answer_by_answer_and_a_tie_is_half():
    start = measured("before", None, 0.5, answers=[("p", 0.5), ("q", 0.5), ("r", None), ("s", 0.5)])
    other = measured("sft", 0, 0.5, answers=[("p", 0.9), ("q", 0.5), ("r", 1.0), ("s", 0.1)])
    assert report_of([start, other], order=("sft",)).lines[0].win_rate.mean == pytest.approx(0.5)
    strange = measured("sft", 0, 0.5, answers=[("x", 0.9)])
    assert report_of([start, strange], order=("sft",)).lines[0].win_rate is None


@pytest.mark.parametrize(
    "report", [a_report(), report_of([], order=()), report_of([measured("a<b", 0, 0.5)], order=("a<b",))]
)
def test_the_plot_is_one_whole_file_that_needs_nothing_else(report):
    drawn = svg(report)
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    for line in report.lines:
        assert line.subject.replace("<", "&lt;") in drawn
