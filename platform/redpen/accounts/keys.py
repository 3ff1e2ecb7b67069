"""API keys: what they look like, and whose one is. Nothing here needs Django's request; the intake reads the same rows.

A key is `rp_<live|test|pub|pubtest>_<8 characters>_<secret>`: its beginning (up to the second-last underscore) may be
shown and logged, the rest is stored as a hash. Secrets are random and long, so a fast hash is enough.
"""

from __future__ import annotations

import secrets
import string
from hashlib import sha256

from redpen.accounts.models import ApiKey

ALPHABET = string.ascii_letters + string.digits
SECRET_LENGTH = 40  # 62**40: 238 bits


def new_token(*, test: bool, public: bool) -> str:
    kind = {(False, False): "live", (True, False): "test", (False, True): "pub", (True, True): "pubtest"}[test, public]
    return f"rp_{kind}_{random_text(8)}_{random_text(SECRET_LENGTH)}"


def random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def prefix_of(token: str) -> str:
    """The part that may be shown."""
    return token.rpartition("_")[0]


def hash_of(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def usable_sql(alias: str = "k") -> str:
    """Whether a row of accounts_apikey opens anything at this moment."""
    return f"({alias}.revoked_at IS NULL AND ({alias}.expires_at IS NULL OR {alias}.expires_at > now()))"


def find(token: str) -> ApiKey | None:
    """The usable key that `token` is, with its project; None for any other text."""
    found = ApiKey.objects.select_related("project").filter(secret_hash=hash_of(token))
    return found.extra(where=[usable_sql("accounts_apikey")]).first()
