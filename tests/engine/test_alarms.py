"""Alarms: said once when a figure leaves its range, once when it is back, and in words that say what to do."""

import json
import math

import pytest

from training.engine.alarms import RULES, look

HEALTHY = {
    "silent_groups": 0.4,
    "kl/reference": 0.1,
    "clipped/low": 0.02,
    "clipped/high": 0.02,
    "truncated": 0.1,
    "entropy": 0.3,
    "reward_length_correlation": 0.1,
    "gap/mean": 0.01,
    "loss": 1.0,
    "grad_norm": 2.0,
}


def told(*steps, start=None):
    """(step, alarm, kind) of all that is said over these steps, each over what is healthy."""
    memory, found = start or {}, []
    for number, values in enumerate(steps):
        memory, notices = look(json.loads(json.dumps(memory)), {**HEALTHY, **values})
        found += [(number, notice.alarm, notice.kind) for notice in notices]
    return found


@pytest.mark.parametrize(
    ("values", "alarm", "steps"),
    [
        ({"silent_groups": 0.85}, "silent_groups", 2),
        ({"kl/reference": 0.6}, "kl", 2),
        ({"clipped/low": 0.06, "clipped/high": 0.06}, "clipped", 2),
        ({"truncated": 0.31}, "truncated", 2),
        ({"entropy": 0.04}, "entropy_low", 2),
        ({"reward_length_correlation": -0.6}, "length", 3),
        ({"reward_length_correlation": 0.6}, "length", 3),
        ({"gap/mean": 0.2}, "gap", 2),
        ({"gap/mean": math.nan}, "gap", 2),
    ],
)
def test_a_figure_outside_its_range_is_said_once_and_its_return_once(values, alarm, steps):
    outside, inside = [values] * 8, [{}] * 8
    assert told(*inside) == []
    assert told(*outside[: steps - 1], *inside) == []
    assert told(*outside, *inside) == [(steps - 1, alarm, "begins"), (8 + steps - 1, alarm, "ends")]


def test_a_figure_that_wavers_about_its_limit_is_said_once():
    waver = [{"truncated": 0.31}, {"truncated": 0.29}] * 10
    assert told(*[{"truncated": 0.4}] * 2, *waver) == [(1, "truncated", "begins")]
    assert told(*waver) == []


def test_rising_entropy_is_measured_by_where_it_began():
    small = [{"entropy": 2.2}] * 5  # a small model begins there, and nothing is wrong with it
    assert told(*small) == []
    assert told(*small, *[{"entropy": 4.6}] * 3) == [(6, "entropy_high", "begins")]
    assert told({}, *[{"entropy": 0.9}] * 3) == []
    assert told({}, *[{"entropy": 1.1}] * 3) == [(2, "entropy_high", "begins")]


def test_a_spike_of_the_loss_and_a_jump_of_the_gradient_are_said_at_once_but_not_at_the_start():
    calm = [{"loss": 1 + 0.1 * (number % 3), "grad_norm": 2 + number % 2} for number in range(15)]
    assert told(*calm) == []
    assert told(*calm, {"loss": 3.0}, {}) == [(15, "loss", "begins"), (16, "loss", "ends")]
    assert told(*calm, {"grad_norm": 40.0}, {}) == [(15, "grad_norm", "begins"), (16, "grad_norm", "ends")]
    assert told(*calm[:5], {"loss": 3.0, "grad_norm": 40.0}) == []


def test_a_figure_that_a_recipe_does_not_have_says_nothing():
    memory, notices = look({}, {})
    assert notices == []
    assert look(memory, {"loss": 0.5})[1] == []


def test_what_is_said_has_the_value_the_range_and_what_to_do():
    memory, _ = look({}, {**HEALTHY, "truncated": 0.456})
    memory, (begins,) = look(memory, {**HEALTHY, "truncated": 0.456})
    assert begins.text.startswith("Share of answers that were cut off: 0.456 (healthy: below 0.3).")
    assert "Raise max_new_tokens" in begins.text
    memory, _ = look(memory, HEALTHY)
    (ends,) = look(memory, HEALTHY)[1]
    assert ends.text == "Share of answers that were cut off: 0.1, which is healthy again (below 0.3)."


def test_every_alarm_has_a_limit_and_a_name_of_its_own():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(math.isfinite(rule.low) or math.isfinite(rule.high) for rule in RULES)
