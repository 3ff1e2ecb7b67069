"""What client.c does, in plain Python, for machines without a compiler: `replay.py PORT CONNECTIONS SECONDS FILE`."""

import json
import mmap
import selectors
import socket
import statistics
import struct
import sys
import time
from collections import Counter


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        self.began, self.received, self.wanted = time.perf_counter(), bytearray(), -1
        self.socket.sendall(request)  # the server reads while we send: it has no answer to give before

    def pull(self) -> bool:
        """Read what is there; True when the answer is complete."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise SystemExit("the server closed a connection in the middle of an answer")
        self.received += part
        if self.wanted < 0:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(self.received[:end]).lower()
            self.chunked = b"\r\ntransfer-encoding: chunked" in head
            length = head.partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0]
            self.wanted = end + 4 + int(length or 0)
        if self.chunked:
            return self.received.endswith(b"0\r\n\r\n")
        return len(self.received) >= self.wanted

    @property
    def status(self) -> str:
        return bytes(self.received[9:12]).decode()


def main(port: int, connections: int, seconds: float, path: str) -> None:
    statuses: Counter[str] = Counter()
    times: list[float] = []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as requests:
        place = 0

        def take() -> bytes | None:
            nonlocal place
            if place + 4 > len(requests):
                return None
            (length,) = struct.unpack_from("<I", requests, place)
            request = requests[place + 4 : place + 4 + length]
            place += 4 + length
            return request

        polls = selectors.DefaultSelector()
        began = ended = time.perf_counter()
        for _ in range(connections):
            connection = Connection(port)
            if (request := take()) is not None:
                connection.send(request)
                polls.register(connection.socket, selectors.EVENT_READ, connection)
        while polls.get_map():
            for key, _ in polls.select(60):
                connection = key.data
                if not connection.pull():
                    continue
                ended = time.perf_counter()
                times.append(ended - connection.began)
                if not statuses[connection.status] and connection.status >= "207":
                    print(bytes(connection.received[:700]), file=sys.stderr)
                statuses[connection.status] += 1
                request = take() if ended - began < seconds else None
                if request is None:
                    polls.unregister(connection.socket)
                else:
                    connection.send(request)
    times.sort()
    found = {
        "requests": len(times),
        "seconds": round(ended - began, 6),
        "p50_ms": round(statistics.median(times) * 1000, 3),
        "p99_ms": round(times[len(times) * 99 // 100] * 1000, 3),
        "statuses": statuses,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
