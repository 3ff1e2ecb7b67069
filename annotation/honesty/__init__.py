"""Who is honest: pure functions on arrays. The database side is annotation/actions/judging.py; see docs/honesty.md.

First each user's weight is bounded: one vote for each answer and kind (the counting), and no more answers of one model
version than `most_answers`. Then users are judged by what they did (`judging.judge`). Here is what the web process
needs, without numpy.
"""

from __future__ import annotations

import math

# A score is 1 minus the product of (1 - strength) over the reasons: from here on left out; shown as doubtful.
LEAVE_OUT, DOUBT = 0.9, 0.5
MAX_SHARE, AT_LEAST = 0.002, 50  # of a version's answers shown, that one user counts with


def most_answers(shown: int) -> int:
    """How many answers of a version one user counts with, of `shown` in all: the first ones."""
    return max(AT_LEAST, math.ceil(MAX_SHARE * shown))
