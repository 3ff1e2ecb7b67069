"""Keeps a handful of processes alive: starts them, starts them again when they end, stops them in order.

One thread, because the kernel ties each child's life to the thread that started it (see process.spawn).
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import Popen

import psutil

from redpen.services import process

LONG_ENOUGH = 10  # seconds of life after which a service's earlier failures are forgotten
LONGEST_PAUSE = 30
PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Service:
    name: str
    start: Callable[[], Popen]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10
    # others use it: stopped after them
    server: bool = False
    # with a listening socket: started when somebody connects, and left alone after it has ended well
    activation: socket.socket | None = None

    running: Popen | None = field(default=None, init=False)
    failures: int = field(default=0, init=False)
    started_at: float = field(default=0, init=False)
    not_before: float = field(default=0, init=False)

    def launch(self) -> None:
        self.started_at = time.monotonic()
        self.running = self.start()

    def note_end(self) -> float:
        """Forget the process that ended; return how long to wait before the next one."""
        if time.monotonic() - self.started_at > LONG_ENOUGH:
            self.failures = 0
        pause = min(0.25 * 2**self.failures, LONGEST_PAUSE)
        self.failures += 1
        self.running = None
        self.not_before = time.monotonic() + pause
        return pause


class Supervisor:
    """`with Supervisor() as supervisor:` - whatever happens inside, nothing that it started is left afterwards."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.services: list[Service] = []
        self.stop_asked = 0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> "Supervisor":
        # Orphans (the children of a worker that was killed) become our children, so that we can end them.
        process.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, self._ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # only wakes the loop
        return self

    def __exit__(self, *exception) -> None:
        self.stop()
        self._end_orphans()

    def _ask_to_stop(self, number: int, frame) -> None:
        self.stop_asked += 1

    def start(self, service: Service) -> Service:
        """Start a service (or, with an activation socket, wait for its first caller) and watch over it from now on."""
        self.services.append(service)
        if service.activation is None:
            service.launch()
        return service

    def run(self) -> None:
        """Watch over the services until somebody asks us to stop."""
        while not self.stop_asked:
            self.tend()

    def tend(self, seconds: float = 1.0) -> None:
        """Notice what has ended and start what is due; then sleep until something happens, `seconds` at most."""
        now = time.monotonic()
        for service in self.services:
            if service.running is not None and service.running.poll() is not None:
                self._note_end(service)
            if service.running is None and service.activation is None and now >= service.not_before:
                self._launch(service)
        self._reap_adopted()
        waiting = [
            service
            for service in self.services
            if service.activation is not None and service.running is None and now >= service.not_before
        ]
        pauses = [service.not_before - now for service in self.services if service.not_before > now]
        sockets = [service.activation for service in waiting]
        ready, _, _ = select.select([self._wake_read, *sockets], [], [], max(0.01, min([seconds, *pauses])))
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        for service in waiting:
            if service.activation in ready and not self.stop_asked:
                self._launch(service)

    def _launch(self, service: Service) -> None:
        try:
            service.launch()
        except Exception as error:  # a full disk, say: this one waits, the others are looked after
            self.say(f"{service.name} cannot be started ({error}); tried again in {service.note_end():g} s")

    def _note_end(self, service: Service) -> None:
        code = service.running.returncode
        if service.activation is not None and code == 0:
            service.running = None  # idle for long, say; the next caller starts it again
            return
        pause = service.note_end()
        reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self.say(f"{service.name} {reason}; it is started again in {pause:g} s (its log: {service.name}.log)")

    def stop(self) -> None:
        """Stop what uses the servers first, all together; then the servers, the last started first.

        A second Ctrl-C kills the users at once. The servers always get their time, because they hold people's data.
        """
        running = [service for service in reversed(self.services) if service.running is not None]
        self._stop_together([service for service in running if not service.server], hurried=lambda: self.stop_asked > 1)
        for server in (service for service in running if service.server):
            self._stop_together([server], hurried=lambda: False)
        self.services.clear()

    def _stop_together(self, services: list[Service], *, hurried: Callable[[], bool]) -> None:
        for service in services:
            if service.running.poll() is None:
                service.running.send_signal(service.stop_signal)
        deadline = time.monotonic() + max((service.stop_seconds for service in services), default=0)
        while any(service.running.poll() is None for service in services):
            if time.monotonic() > deadline or hurried():
                for service in services:
                    service.running.kill()
                    service.running.wait()
            time.sleep(0.05)
        for service in services:
            service.running = None

    def _reap_adopted(self) -> None:
        """Orphans that have ended stay zombies until we, their new parent, ask for their exit code."""
        ours = {service.running.pid for service in self.services if service.running is not None}
        for child in psutil.Process().children():
            if child.pid not in ours and child.status() == psutil.STATUS_ZOMBIE:
                try:
                    os.waitpid(child.pid, os.WNOHANG)
                except ChildProcessError:
                    pass

    def _end_orphans(self) -> None:
        orphans = psutil.Process().children(recursive=True)
        for orphan in orphans:
            try:
                orphan.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(orphans, timeout=5)
