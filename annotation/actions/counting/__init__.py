"""Counting what the live intake took in: one pass at a time over what came since the last, and all of it again.

    catch_up()                          everything that is committed is joined, settled and counted: before a snapshot
    count_gently()                      what Celery calls every two seconds; does nothing where somebody is at it
    count()                             the same without rests
    recount_users(...), recount_answers(...)   their exposures again: left out, let in again, erased
    rebuild(project)                    all of a project again: its slices have changed

See docs/live.md for the rules.
"""

from annotation.actions.counting.passes import Counted, Pass, catch_up, count, count_gently
from annotation.actions.counting.rebuilding import Drift, check, rebuild, rebuild_due, recount_answers, recount_users

__all__ = [
    "Counted",
    "Drift",
    "Pass",
    "catch_up",
    "check",
    "count",
    "count_gently",
    "rebuild",
    "rebuild_due",
    "recount_answers",
    "recount_users",
]
