"""Names of people and projects: one line, not empty, as long as their columns."""

from __future__ import annotations

from redpen.accounts.errors import Invalid


def one_line(value: str, *, pointer: str, what: str, longest: int = 120) -> str:
    """`value` with its white space tidied; raises Invalid when nothing or too much is left."""
    tidy = " ".join(value.split())
    if not tidy:
        message = f"{what} is empty. Write one."
    elif len(tidy) > longest:
        message = f"{what} has {len(tidy)} characters; {longest} fit."
    else:
        return tidy
    raise Invalid(message, problems=[{"pointer": pointer, "message": message, "code": "invalid"}])
