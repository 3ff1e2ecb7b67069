"""Where the embedded servers are reached: Unix sockets, so that no port is taken and no other user gets in."""

import hashlib
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

DATABASE_USER = DATABASE_NAME = "redpen"
# Linux refuses socket paths of 108 bytes and more; Postgres appends "/.s.PGSQL.5432.lock"
LONGEST_DIRECTORY = 107 - len("/.s.PGSQL.5432.lock")


def socket_directory(data_dir: Path) -> Path:
    """The folder of both sockets: in the data folder, or, when that path is too long for a socket, one in /tmp."""
    inside = data_dir / "run"
    if len(str(inside).encode()) <= LONGEST_DIRECTORY:
        return inside
    return Path("/tmp") / f"redpen-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]}"


def redis_socket(data_dir: Path) -> Path:
    return socket_directory(data_dir) / "redis.sock"


def embedded_database_url(data_dir: Path, name: str = DATABASE_NAME) -> str:
    return f"postgresql://{DATABASE_USER}@{quote(str(socket_directory(data_dir)), safe='')}/{name}"


def embedded_redis_url(data_dir: Path) -> str:
    return f"unix://{quote(str(redis_socket(data_dir)))}"


def celery_broker_url(redis_url: str) -> str:
    """kombu calls redis-py's `unix://` `redis+socket://`."""
    return f"redis+socket{redis_url.removeprefix('unix')}" if redis_url.startswith("unix:") else redis_url


def mail_settings(url: str) -> dict[str, object]:
    """Django's settings for a mail server; none: nothing is sent, and the pages do not offer it."""
    if not url:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    parts = urlsplit(url)
    safe = parts.scheme == "smtps"
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname or "localhost",
        "EMAIL_PORT": parts.port or (465 if safe else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": safe,
        "EMAIL_USE_TLS": not safe,
        "EMAIL_TIMEOUT": 10,
    }
