"""The supervisor over small processes: back-off, start on demand, order of stopping, nothing left.

Each scene runs in a process of its own, because the supervisor takes over signals and orphans of its process.
"""

import subprocess
import sys
import textwrap

from redpen.env import REPOSITORY

SETUP = """
import os, signal, socket, sys, time
from pathlib import Path
import psutil
from redpen.services import process
from redpen.services.supervisor import Service, Supervisor

said = []
folder = Path(sys.argv[1])

def python(code, **more):
    return lambda: process.spawn([sys.executable, "-c", code], log=folder / "log", **more)

def tend_until(supervisor, condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, said
        supervisor.tend(0.05)
"""


def scene(tmp_path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETUP + textwrap.dedent(code), str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{REPOSITORY}/platform:{REPOSITORY}", "PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_dies_is_started_again_later_and_later(tmp_path):
    scene(
        tmp_path,
        """
        with Supervisor(said.append) as supervisor:
            service = supervisor.start(Service("dies", python("raise SystemExit(3)")))
            tend_until(supervisor, lambda: len(said) == 3)
        assert [line.split("again in ")[1].split(" s")[0] for line in said] == ["0.25", "0.5", "1"], said
        assert "ended with code 3" in said[0]
        """,
    )


def test_what_cannot_even_be_started_does_not_take_the_others_down(tmp_path):
    scene(
        tmp_path,
        """
        attempts = []
        def start():
            attempts.append(1)
            if len(attempts) > 1:
                raise OSError("no space left")
            return python("pass")()
        with Supervisor(said.append) as supervisor:
            steady = supervisor.start(Service("steady", python("import time; time.sleep(60)")))
            supervisor.start(Service("broken", start))
            tend_until(supervisor, lambda: any("no space left" in line for line in said))
            assert steady.running.poll() is None
        """,
    )


def test_a_service_on_demand_starts_with_its_first_caller_and_again_after_it_went(tmp_path):
    scene(
        tmp_path,
        """
        listener = socket.create_server(("127.0.0.1", 0))
        code = f"import socket; s = socket.socket(fileno={listener.fileno()}); c, _ = s.accept(); c.sendall(b'hello')"
        def call(supervisor):
            with socket.create_connection(listener.getsockname()) as caller:
                tend_until(supervisor, lambda: service.running is not None)
                assert caller.recv(5) == b"hello"
        with Supervisor(said.append) as supervisor:
            service = Service("demand", python(code, pass_fds=[listener.fileno()]), activation=listener)
            supervisor.start(service)
            supervisor.tend(0.2)
            assert service.running is None
            for _ in range(2):
                call(supervisor)
                tend_until(supervisor, lambda: service.running is None)
        assert said == []  # to end well is no fault
        """,
    )


def test_users_stop_before_servers_and_a_deaf_one_is_killed(tmp_path):
    scene(
        tmp_path,
        """
        def polite(name):
            path = str(folder / name)
            return python(f'''
        import signal, time
        def leave(*_):
            open({path!r}, "w").write(str(time.monotonic()))
            raise SystemExit(0)
        signal.signal(signal.SIGTERM, leave)
        open({path!r} + ".up", "w").write("")
        while True: time.sleep(1)
        '''.replace(chr(10) + "        ", chr(10)))
        up = str(folder / "deaf.up")
        ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        deaf = python(f"{ignore}; open({up!r}, 'w').write(''); time.sleep(60)")
        with Supervisor(said.append) as supervisor:
            names = ("postgres", "redis", "web")
            for name in names:
                supervisor.start(Service(name, polite(name), server=name != "web"))
            deaf = supervisor.start(Service("deaf", deaf, stop_seconds=1)).running
            tend_until(supervisor, lambda: all((folder / f"{name}.up").exists() for name in (*names, "deaf")))
        stopped = {name: float((folder / name).read_text()) for name in names}
        assert stopped["web"] < stopped["redis"] < stopped["postgres"]
        assert deaf.returncode == -signal.SIGKILL
        """,
    )


def test_orphans_of_a_service_are_ended_with_the_supervisor(tmp_path):
    scene(
        tmp_path,
        """
        code = f'''
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        open({str(folder / "child")!r}, "w").write(str(child.pid))
        time.sleep(600)
        '''.replace(chr(10) + "        ", chr(10))
        with Supervisor(said.append) as supervisor:
            service = supervisor.start(Service("parent", python(code)))
            tend_until(supervisor, lambda: (folder / "child").exists() and (folder / "child").read_text())
            orphan = psutil.Process(int((folder / "child").read_text()))
            service.running.kill()
            tend_until(supervisor, lambda: said)
        assert not orphan.is_running()
        assert psutil.Process().children(recursive=True) == []
        """,
    )


def test_a_spawned_process_dies_with_its_parent(tmp_path):
    scene(
        tmp_path,
        """
        pid = os.fork()
        if pid == 0:
            child = python("import time; time.sleep(600)")()
            (folder / "pid").write_text(str(child.pid))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        child = int((folder / "pid").read_text())
        end = time.monotonic() + 5
        while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
            time.sleep(0.05)
        """,
    )
