"""How often one may try a password.

An attempt is written down before the password is looked at, so that many at the same moment do not slip through, and
struck out when it was right.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Count, Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from redpen.accounts.errors import TooMany
from redpen.accounts.models import SignInAttempt

WINDOW = timedelta(minutes=15)
FOR_PERSON_AND_ADDRESS = 5
FOR_PERSON = 50  # from anywhere; high, since it also locks out the person
FOR_ADDRESS = 60  # a whole office may share one


class TooManyAttempts(TooMany):
    code = "auth.too_many_attempts"
    retry_after = int(WINDOW.total_seconds())

    def __init__(self) -> None:
        super().__init__(
            "Too many attempts did not work. Wait 15 minutes, or reset the password; what you type until then is not "
            "looked at."
        )


def begin_attempt(*, email: str, address: str) -> SignInAttempt:
    """Write an attempt down; raises TooManyAttempts when there were too many within 15 minutes."""
    who = salted_hmac("redpen.sign-in", email.strip().lower()).hexdigest()
    address = address[:45]
    attempt = SignInAttempt.objects.create(who=who, address=address)
    recent = SignInAttempt.objects.filter(Q(who=who) | Q(address=address), at__gt=timezone.now() - WINDOW)
    counts = recent.aggregate(
        both=Count("pk", filter=Q(who=who, address=address)),
        person=Count("pk", filter=Q(who=who)),
        address=Count("pk", filter=Q(address=address)),
    )
    if counts["both"] > FOR_PERSON_AND_ADDRESS or counts["person"] > FOR_PERSON or counts["address"] > FOR_ADDRESS:
        attempt.delete()  # what was not looked at does not make the wait longer
        raise TooManyAttempts
    return attempt


def attempt_succeeded(attempt: SignInAttempt) -> None:
    """Strike out the person's attempts from there, and everybody's that no longer count."""
    SignInAttempt.objects.filter(
        Q(who=attempt.who, address=attempt.address) | Q(at__lt=timezone.now() - 4 * WINDOW)
    ).delete()
