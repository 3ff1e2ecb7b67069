"""Scene 6: a flood, slow bytes, bombs and poison of one project; another is served, and every item is counted."""

import sys

import pytest

from tests.faults import flood, ledger
from tests.running import running

pytestmark = pytest.mark.slow
PROJECTS = ["quiet", "loud", "mixed"]


def keys_of(redpen):
    return dict(zip(PROJECTS, ledger.make_keys(redpen, *PROJECTS), strict=True))


def check(report):
    """What holds on any machine, however busy. The ratio is printed."""
    sys.stdout.write(f"{report}\n")
    assert report.quiet_not_stored == []
    assert report.neighbours_refused == []
    assert report.deadlocks == 0
    assert report.unaccounted == 0
    assert report.in_database == report.items["stored"]
    assert report.growth < 100
    assert not [name for name in report.requests if name.endswith("500")]
    assert report.items["limited"] + report.items["refused"] > 0


def test_a_flood_of_one_project_is_counted_and_another_is_served():
    with running() as redpen:
        redpen.start_and_wait()
        report = flood.run(redpen, keys=keys_of(redpen), seconds=8, quiet_seconds=4)
    check(report)
    assert report.flooded_p99 < max(2000, 20 * report.quiet_p99)  # of a busy machine; the full form says 3


@pytest.mark.full
def test_a_flood_of_ten_minutes_leaves_the_quiet_project_within_three_times():
    with running() as redpen:
        redpen.start_and_wait()
        report = flood.run(redpen, keys=keys_of(redpen), seconds=600, quiet_seconds=60)
    check(report)
    assert report.ratio <= 3
