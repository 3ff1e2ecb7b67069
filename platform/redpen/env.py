"""What Redpen reads from the environment: every variable, its type, its default and what it is for.

This is the only place that reads `os.environ`. All bad values are reported at once, in words, and the process ends.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent.parent

Port = Annotated[int, Field(ge=0, le=65535)]


class Environment(BaseSettings):
    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, extra="ignore")

    DATA_DIR: Path = Field(REPOSITORY / "var", description="where everything that Redpen keeps on disk lies")
    HOST: str = Field("127.0.0.1", description="the address that the web server listens on")
    PORT: Annotated[int, Field(ge=1, le=65534)] = Field(8000, description="the port that the web server listens on")
    DATABASE_URL: str = Field("", description="a Postgres 18 server; empty: the embedded one")
    REDIS_URL: str = Field("", description="a Redis server; empty: the embedded one")
    EMAIL_URL: str = Field("", description="smtp://user:password@host:587 or smtps://...:465; empty: no mail is sent")
    EMAIL_FROM: str = Field("redpen@localhost", description="the sender of mail")
    DATABASE_POOL: int = Field(20, ge=1, description="the most connections that one process holds")
    SECRET_KEY: str = Field("", description="signs sessions; empty: made once and kept in DATA_DIR/secret_key")
    ALLOWED_HOSTS: Annotated[list[str], NoDecode] = Field(
        ["localhost", "127.0.0.1", "[::1]"], description="names under which browsers reach the server, by comma"
    )
    HTTPS: bool = Field(False, description="a proxy in front speaks HTTPS and sets X-Forwarded-Proto")
    DEBUG: bool = Field(False, description="Django's debug pages and unhashed static files; never in production")
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="the least that is logged")
    WEB_THREADS: int = Field(16, ge=1, description="how many requests Django answers at the same time")
    MODEL_SERVER_URL: str = Field("", description="a model server elsewhere; empty: the one started on demand here")
    MODEL_SERVER_PORT: Port = Field(0, description="the port of our own model server; 0: PORT + 1")
    BASE_MODEL: str = Field("smollm2-135m", description="the base model that the forms open on")
    TRAIN_THREADS: int = Field(
        len(os.sched_getaffinity(0)), ge=1, description="CPU threads of one training run", validate_default=False
    )
    CHECKPOINT_SECONDS: int = Field(
        60, ge=1, description="how often a training run saves all that it needs to go on after a crash"
    )
    ACCELERATE_CONFIG: str = Field(
        "",
        description="a file of accelerate's own config (DDP, FSDP); empty: one process for each GPU, or one on the CPU",
    )
    DEMO: bool = Field(True, description="fill a demo project on the first start")
    REDACTOR: str = Field("", description="module:function that takes personal data out of text; empty: patterns only")
    LEASE_SECONDS: int = Field(30, ge=3, description="how long a worker may be silent before its run is given away")
    BEAT_SECONDS: int = Field(10, ge=1, description="how often a worker renews its lease")

    INTAKE_BODY_MB: int = Field(64, ge=1, description="the largest body of the live API, unpacked, in MB")
    INTAKE_ITEM_KB: int = Field(1024, ge=1, description="the largest answer or reaction of the live API, in kB")
    INTAKE_BATCH_ITEMS: int = Field(1000, ge=1, description="the most items in one JSON array of the live API")
    INTAKE_NDJSON_LINES: int = Field(100_000, ge=1, description="the most lines in one NDJSON request of the live API")
    INTAKE_BODY_SECONDS: int = Field(60, ge=1, description="how long a body of the live API may take to arrive")
    INTAKE_WAITING_MB: int = Field(256, ge=1, description="how much may wait in memory for a commit; more gets a 503")
    INTAKE_WRITERS: int = Field(2, ge=1, description="connections on which the live API commits")

    WEBHOOK_ALLOW: Annotated[list[str], NoDecode] = Field(
        [], description="hosts and networks that webhooks may call though they are not public, by comma; by http too"
    )

    @field_validator("ALLOWED_HOSTS", "WEBHOOK_ALLOW", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("LOG_LEVEL", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("DATA_DIR", mode="after")
    @classmethod
    def _there(cls, value: Path) -> Path:
        folder = value.expanduser().absolute()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds people's words
        except OSError as error:
            raise ValueError(f"cannot be made or used ({error.strerror})") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError("cannot be written to by this user")
        return folder

    @field_validator("DATABASE_URL", mode="after")
    @classmethod
    def _postgres(cls, value: str) -> str:
        if value and not value.startswith(("postgres://", "postgresql://")):
            raise ValueError("should look like postgresql://user:password@host:5432/redpen")
        return value

    @field_validator("REDIS_URL", mode="after")
    @classmethod
    def _redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("should look like redis://host:6379/0")
        return value

    @field_validator("EMAIL_URL", mode="after")
    @classmethod
    def _smtp(cls, value: str) -> str:
        if value and not value.startswith(("smtp://", "smtps://")):
            raise ValueError("should look like smtp://user:password@host:587")
        return value

    @field_validator("MODEL_SERVER_URL", mode="after")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("should look like http://host:8001")
        return value.rstrip("/")

    @field_validator("BEAT_SECONDS", mode="after")
    @classmethod
    def _beats_within_lease(cls, value: int, info) -> int:
        lease = info.data.get("LEASE_SECONDS")
        if lease is not None and value * 2 > lease:
            raise ValueError(f"should be at most half of LEASE_SECONDS ({lease}), or one late beat loses the run")
        return value


def read() -> Environment:
    """The environment, checked; ends the process with one line for each bad value."""
    try:
        return Environment()
    except ValidationError as error:
        sys.stderr.write(explain(error))
        sys.exit(2)


def explain(error: ValidationError) -> str:
    lines = ["Redpen cannot start with these settings:"]
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else "?"
        given = (
            "(hidden)"
            if name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "EMAIL_URL")
            else repr(os.environ.get(name))
        )
        reason = problem["msg"].removeprefix("Value error, ")
        about = Environment.model_fields[name].description if name in Environment.model_fields else ""
        lines.append(f"  {name}={given}: {reason}. It says: {about}.")
    lines.append("Change or unset them in the environment. docs/architecture.md lists all settings.")
    return "\n".join(lines) + "\n"


def secret_key(data_dir: Path) -> str:
    """The key kept in the data folder, made on the first call; two processes that start together get the same one."""
    from django.core.management.utils import get_random_secret_key

    path = data_dir / "secret_key"
    if not path.exists():
        draft = path.with_name(f"secret_key.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(get_random_secret_key())
        try:
            os.link(draft, path)  # unlike rename, refuses to replace the key that another process has just made
        except FileExistsError:
            pass
        draft.unlink()
    return path.read_text().strip()
