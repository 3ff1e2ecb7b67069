"""`manage.py up`: everything that Redpen needs on one machine, under one supervisor."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management import call_command, get_commands
from django.db import OperationalError, connection

from redpen import env as environment
from redpen.accounts.demo import DEMO_LOGINS
from redpen.services import claims, process
from redpen.services.postgres import Postgres
from redpen.services.redis import Redis
from redpen.services.supervisor import Service, Supervisor

Say = Callable[[str], None]
REPOSITORY = environment.REPOSITORY
FIRST_START = "first_start"  # a file in the data folder that says what the first start did


class NotReady(Exception):
    """It did not come up; the message says which part and why."""


class Stopped(Exception):
    """Somebody pressed Ctrl-C while it was still starting."""


def up(*, say: Say) -> None:
    env = environment.read()
    data_dir: Path = settings.DATA_DIR
    started = time.monotonic()
    os.umask(0o077)  # what our processes write is for this account alone
    lock = claims.claim_data_folder(data_dir, port=env.PORT)
    web_socket = claims.claim_port(env.HOST, env.PORT, setting="PORT")
    model_socket = None
    if not env.MODEL_SERVER_URL:
        model_socket = claims.claim_port("127.0.0.1", settings.MODEL_SERVER_PORT, setting="MODEL_SERVER_PORT")
    say(f"Redpen starts. Data folder: {data_dir}")
    with lock, Supervisor(say) as supervisor:
        try:
            start_servers(supervisor, env, data_dir, say)
            prepare(supervisor, env, data_dir, say)
            start_processes(supervisor, data_dir, web_socket, model_socket, say)
            wait_until_ready(supervisor, env, say)
            greet(env, data_dir, say, seconds=time.monotonic() - started)
            supervisor.run()
        except Stopped:
            pass
        say("Redpen stops. (Once more Ctrl-C: at once.)")
    say("Redpen has stopped.")


def start_servers(supervisor: Supervisor, env: environment.Environment, data_dir: Path, say: Say) -> None:
    if env.DATABASE_URL:
        with step(say, "Postgres (DATABASE_URL)"):
            wait_for_database(supervisor)
    else:
        postgres = Postgres(data_dir)
        with step(say, "Postgres"):
            postgres.initialise()
            service = supervisor.start(Service("postgres", postgres.start, signal.SIGINT, stop_seconds=30, server=True))
            postgres.wait(service.running)
            postgres.make_wal_ready()
    if not env.REDIS_URL:
        with step(say, "Redis"):
            redis = Redis(data_dir)
            service = supervisor.start(Service("redis", redis.start, server=True))
            redis.wait(service.running)


def wait_for_database(supervisor: Supervisor, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.ensure_connection()
            return
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise NotReady(f"The database of DATABASE_URL cannot be reached: {error}") from None
        check_stop(supervisor)
        time.sleep(0.5)


def prepare(supervisor: Supervisor, env: environment.Environment, data_dir: Path, say: Say) -> None:
    check_stop(supervisor)
    with step(say, "Database tables"):
        call_command("migrate", interactive=False, verbosity=0)
    connection.close()
    connection.close_pool()  # its threads have no place in a process that forks
    check_stop(supervisor)
    with step(say, "Static files"):
        call_command("collectstatic", interactive=False, verbosity=0)
    check_stop(supervisor)
    first_start = data_dir / FIRST_START
    if not first_start.exists():
        filled = env.DEMO and fill_demo(supervisor, say)
        first_start.write_text("demo\n" if filled else "empty\n")


def fill_demo(supervisor: Supervisor, say: Say) -> bool:
    if "demo" not in get_commands():
        return False
    with step(say, "Demo project, a small world with its people", long=True):
        command = [sys.executable, REPOSITORY / "manage.py", "demo"]
        demo = process.spawn(command, log=None, environment=child_environment())
        while demo.poll() is None:
            if supervisor.stop_asked:
                process.stop(demo, seconds=5)
                raise Stopped
            time.sleep(0.1)
    if demo.returncode:
        raise NotReady(
            f"The demo project could not be filled (code {demo.returncode}; the reason stands above). "
            "Start again to try once more, or start with DEMO=false."
        )
    return True


def child_environment() -> dict[str, str]:
    """What our children read: the same settings, whatever folder they run in."""
    paths = [str(REPOSITORY / "platform"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {
        "DATA_DIR": str(settings.DATA_DIR),
        "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "redpen.settings"),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
    }


def start_processes(supervisor: Supervisor, data_dir: Path, web_socket, model_socket, say: Say) -> None:
    def python(name: str, *arguments: str, sockets: tuple = (), niceness: int = 0) -> Callable[[], subprocess.Popen]:
        return lambda: process.spawn(
            [sys.executable, "-m", *arguments],
            log=data_dir / "log" / f"{name}.log",
            pass_fds=[socket.fileno() for socket in sockets],
            environment=child_environment(),
            cwd=REPOSITORY,
            niceness=niceness,
        )

    def celery(name: str, *arguments: str, niceness: int = 0) -> Service:
        return Service(name, python(name, "celery", "-A", "redpen", *arguments, niceness=niceness))

    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    web = python("web", "redpen.services.web", "--fd", str(web_socket.fileno()), sockets=(web_socket,))
    supervisor.start(Service("web", web))
    for queue, threads, niceness in (("default", "4", 0), ("train", "1", 5)):  # training gives way to the pages
        worker = ("worker", "-n", f"{queue}@%h", "-Q", queue, "--pool", "threads", "-c", threads, *quiet)
        supervisor.start(celery(f"worker-{queue}", *worker, niceness=niceness))
    # A schedule of fixed intervals needs no memory of its own on disk.
    supervisor.start(celery("scheduler", "beat", "-S", "celery.beat.Scheduler", "--pidfile="))
    if model_socket is not None:
        serve = python("model-server", "training.serve", "--fd", str(model_socket.fileno()), sockets=(model_socket,))
        supervisor.start(Service("model-server", serve, activation=model_socket))


def wait_until_ready(supervisor: Supervisor, env: environment.Environment, say: Say, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    with step(say, "Web, two workers, scheduler"):
        while True:
            reason = why_not_ready(f"http://{reachable_host(env.HOST)}:{env.PORT}/readyz")
            if reason is None:
                return
            if time.monotonic() > deadline:
                log = process.tail(settings.DATA_DIR / "log" / "web.log")
                raise NotReady(f"/readyz is not green after {seconds:.0f} s: {reason}\nThe end of web.log:\n{log}")
            check_stop(supervisor)
            supervisor.tend(0.2)


def why_not_ready(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return None
    except urllib.error.HTTPError as error:
        try:
            checks = json.load(error)["checks"]
        except (ValueError, KeyError):
            return f"it answers {error.code}"
        return "; ".join(f"{name}: {check['reason']}" for name, check in checks.items() if not check["ok"])
    except OSError as error:
        return f"the web process does not answer ({error})"


def greet(env: environment.Environment, data_dir: Path, say: Say, *, seconds: float) -> None:
    say(f"\nRedpen is ready after {seconds:.1f} s:  http://{reachable_host(env.HOST)}:{env.PORT}/\n")
    if (data_dir / FIRST_START).read_text().strip() == "demo":
        say("  The demo project's people, to sign in as:")
        for login in DEMO_LOGINS:
            say(f"    {login.role:<10} {login.email:<18} password {login.password}")
    else:
        say("  Make your first account with `.venv/bin/python manage.py createsuperuser`, then sign in.")
    say(f"\n  Logs: {data_dir / 'log'}.  Ctrl-C stops everything.")


def reachable_host(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)


def check_stop(supervisor: Supervisor) -> None:
    if supervisor.stop_asked:
        raise Stopped


@contextmanager
def step(say: Say, title: str, *, long: bool = False) -> Iterator[None]:
    """Say what is being done before it begins to take time, and how long it took; a long one writes lines between."""
    started = time.monotonic()
    sys.stdout.write(f"  {title} ... " + ("\n" if long else ""))
    sys.stdout.flush()
    try:
        yield
    except BaseException:
        sys.stdout.write("\n")
        raise
    say(f"{'  ... ' if long else ''}{time.monotonic() - started:.1f} s")
