"""How long something took, or will take, as people read it."""

MINUTE, HOUR = 60, 3600


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < MINUTE:
        return f"{int(seconds)} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min {int(seconds % MINUTE):02} s"
    return f"{int(seconds // HOUR)} h {int(seconds % HOUR // MINUTE):02} min"
