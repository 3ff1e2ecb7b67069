"""Users of a product: which names are names, and what is kept of them. Pure Python: the intake uses it too."""

from __future__ import annotations

import hashlib
import hmac
import re

from annotation.errors import BadValue

PSEUDONYM = re.compile("u_[0-9a-f]{32}")
# joiners and direction marks are not among them: names with emoji and of right-to-left scripts hold those
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LONGEST = 200
# What programs send when they do not know whom they speak of. Taken for a name, one such "user" would be everybody:
# all their taps would be one person's, and erasing one would erase all.
NOBODY = {
    *("null", "(null)", "undefined", "none", "nil", "nan", "true", "false", "0", "-1", "[object object]", "{}", "[]"),
    *("anonymous", "anon", "guest", "unknown", "nobody", "n/a", "not_authenticated"),
    *("user", "userid", "user_id", "id", "distinct_id", "email"),
}


def check_user(user: str, pointer: str = "/user") -> str:
    """`user` itself; raises BadValue when it names nobody, or cannot be kept."""
    if not user.strip():
        raise BadValue(pointer, "The user is empty. Leave the field out where no user is known.", code="user.nobody")
    if user.strip().lower() in NOBODY:
        raise BadValue(
            pointer,
            f"'{user.strip()}' is what programs send when they know no user. Send the user's own id, or leave it out.",
            code="user.nobody",
        )
    if len(user) > LONGEST:
        raise BadValue(pointer, f"A user's id has at most {LONGEST} characters, not {len(user)}.", code="user.too_long")
    if found := CONTROL.search(user):
        where = f"Character {found.start()} of the user's id is a control character (U+{ord(found.group()):04X})"
        raise BadValue(pointer, f"{where}; an id holds none.", code="user.not_printable")
    return user


def is_pseudonym(user: str) -> bool:
    return PSEUDONYM.fullmatch(user) is not None


def pseudonym(secret: str, user: str) -> str:
    """What is kept instead of `user`: the same for the same name, and nobody without the secret can find the name.

    What is a pseudonym already stays as it is, so that a product may send back what it was given.
    """
    if not user or is_pseudonym(user):
        return user
    return (
        "u_"
        + hmac.new(
            secret.encode("utf-8", "surrogatepass"), user.encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()[:32]
    )
