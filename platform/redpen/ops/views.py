"""/readyz: can this process serve? Each part answers for itself, with a reason when it cannot."""

from collections.abc import Callable

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from redpen.ops.restore import FOLLOW_UP


def check_database() -> str | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return None


def check_migrations() -> str | None:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not missing:
        return None
    names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing[:3])
    return f"{len(missing)} migrations are not applied ({names}). Run `python manage.py migrate`."


def check_durability() -> str | None:
    """A commit must be on disk before a reply says `stored`; a server may be set to lose the last moments."""
    if not settings.REQUIRE_DURABLE:
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('fsync'), current_setting('full_page_writes')")
        off = [
            name for name, value in zip(("fsync", "full_page_writes"), cursor.fetchone(), strict=True) if value != "on"
        ]
    return (
        f"Postgres runs with {' and '.join(off)} off, and would lose what was acknowledged. Turn it on."
        if off
        else None
    )


def check_restored() -> str | None:
    """A backup brings back whom people have had erased since: nothing is served before they are erased again."""
    if (settings.DATA_DIR / FOLLOW_UP).exists():
        return "a restore is not finished. Run `python manage.py after_restore`."
    return None


def check_redis() -> str | None:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2)
    try:
        client.ping()
    finally:
        client.close()
    return None


CHECKS: dict[str, Callable[[], str | None]] = {
    "database": check_database,
    "migrations": check_migrations,
    "durability": check_durability,
    "restored": check_restored,
    "redis": check_redis,
}


def reason_of(check: Callable[[], str | None]) -> str | None:
    """Why a part is not ready, or None. Addresses and passwords stay out of it: anyone may ask."""
    try:
        return check()
    except (DatabaseError, redis.RedisError, OSError) as error:
        return f"not reachable ({type(error).__name__})"


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    reasons = {name: reason_of(check) for name, check in CHECKS.items()}
    ready = not any(reasons.values())
    response = JsonResponse(
        {
            "ready": ready,
            "checks": {name: {"ok": reason is None, "reason": reason} for name, reason in reasons.items()},
        },
        status=200 if ready else 503,
    )
    if not ready:
        response["Retry-After"] = "5"
    return response
