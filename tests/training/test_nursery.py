"""The nursery: runs are forked from a process that has loaded everything, and end when they should."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from training.compare import nursery

SCRIPT = nursery.__file__
SERVE = f"""
import sys, types
sys.path.insert(0, {str(Path(SCRIPT).parents[2])!r})
launch = types.ModuleType("training.launch")
def main(arguments):
    import os, pathlib, signal, time
    folder = pathlib.Path(arguments[0])
    (folder / "pid").write_text(str(os.getpid()))
    print("it speaks", os.environ["REDPEN_RUN"], flush=True)
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    while (folder / "wait").exists() and not told:
        time.sleep(0.02)
    return 3 if told else 0
launch.main = main
import training
training.launch = launch
sys.modules["training.launch"] = launch
from training.compare import nursery
nursery.load = lambda: None
nursery.serve(sys.argv[1])
"""


@pytest.fixture
def served(tmp_path):
    path = tmp_path / "socket"
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(path)], stdin=subprocess.PIPE)
    until(path.exists)
    yield path, server
    server.stdin.close()
    server.wait(timeout=10)


def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begin(tmp_path, path, *, waits):
    folder = tmp_path / "run"
    folder.mkdir()
    if waits:
        (folder / "wait").touch()
    command = [sys.executable, "-I", SCRIPT, str(path), str(folder)]
    given = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": {**os.environ, "REDPEN_RUN": "r:1"}}
    process = subprocess.Popen(command, **given)
    until((folder / "pid").exists)
    until(lambda: (folder / "pid").read_text())
    return process, int((folder / "pid").read_text())


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_run_speaks_through_the_one_who_stands_in_for_it(tmp_path, served):
    process, pid = begin(tmp_path, served[0], waits=False)
    assert process.communicate(timeout=20)[0] == b"it speaks r:1\n"
    assert process.returncode == 0
    assert pid != process.pid
    until(lambda: gone(pid))


def test_asked_to_stop_it_stops_and_ends_as_the_run_ends(tmp_path, served):
    process, _ = begin(tmp_path, served[0], waits=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 3


def test_killed_it_takes_the_run_with_it(tmp_path, served):
    process, pid = begin(tmp_path, served[0], waits=True)
    process.kill()
    until(lambda: gone(pid))


def test_when_the_nursery_dies_nothing_is_left(tmp_path, served):
    process, pid = begin(tmp_path, served[0], waits=True)
    served[1].kill()
    until(lambda: gone(pid))
    assert process.wait(timeout=20) == nursery.LOST
