"""No ratio without parity: both sides read the same tokens and learn the same from them."""

from __future__ import annotations

from benchmarks.train.meter import Measured

LOSS, GRAD_NORM = 1e-4, 1e-3  # relative
STEPS = 8
SMALL = 0.01  # a policy gradient's loss is 0 at the first step: below this, differences are taken of it instead


class NoParity(Exception):
    """The two sides do not do the same; the message says where they part. No ratio may be printed."""


def check(
    cell: str, ours: Measured, theirs: Measured, *, steps: int = STEPS, rounding: float = 0.0
) -> dict[str, float]:
    """The largest relative differences of loss and gradient norm; raise NoParity where they are too large, where the
    data differs, or where there are fewer than `steps` steps to compare. `rounding` is how far float32 alone can take
    a loss, in nats (`Cell.rounding`).
    """
    for what in ("rows", "trained", "read"):
        mine, other = getattr(ours, what), getattr(theirs, what)
        if mine != other:
            told = {"rows": "rows", "trained": "trained tokens", "read": "tokens, their order or their masks"}[what]
            raise NoParity(f"{cell}: the sides differ in their {told}: {mine} here, {other} there.")
    if min(len(ours.steps), len(theirs.steps)) < steps:
        raise NoParity(f"{cell}: {len(ours.steps)} and {len(theirs.steps)} steps; {steps} must be compared.")
    worst = {"loss": 0.0, "grad_norm": 0.0}
    for number, (a, b) in enumerate(zip(ours.steps, theirs.steps, strict=False), 1):
        if a.tokens != b.tokens:
            raise NoParity(f"{cell}: step {number} counts {a.tokens} useful tokens here and {b.tokens} there.")
        for name, limit in (("loss", LOSS), ("grad_norm", GRAD_NORM)):
            mine, other = getattr(a, name), getattr(b, name)
            apart = abs(mine - other) / max(abs(other), SMALL)
            allowed = max(limit, rounding / max(abs(other), SMALL)) if name == "loss" else limit
            if not apart <= allowed:  # NaN too
                raise NoParity(f"{cell}: {name} of step {number} is {mine:.6g} here and {other:.6g} there.")
            worst[name] = max(worst[name], apart)
    return worst
