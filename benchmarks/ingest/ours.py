"""Redpen as the benchmark sees it: a real `manage.py up`, a key, 20,000 answers, and requests that react to them."""

import json
import urllib.request
from collections.abc import Iterator

import psycopg

from benchmarks.peers.servers import RESPONSES
from redpen.services.addresses import embedded_database_url
from tests.running import Running

PREPARE = """
from redpen.accounts import keys
from redpen.accounts.actions.projects import create_project
from redpen.accounts.models import ApiKey, User
ada = User.objects.create_user("ada@example.org", "a long enough password", name="Ada")
project = create_project(creator=ada, name="Bench", slug="bench")
token = keys.new_token(test=False, public=False)
ApiKey.objects.create(project=project, name="bench", prefix=keys.prefix_of(token), secret_hash=keys.hash_of(token),
                      scopes=["responses.write", "reactions.write", "read"])
print(token)
"""


class Ours:
    name = "redpen"
    table = "annotation_reaction"

    def __init__(self, redpen: Running) -> None:
        self.redpen, self.port = redpen, int(redpen.port)
        self.database = embedded_database_url(redpen.data_dir)
        self.token = redpen.manage("shell", "-c", PREPARE).split()[-1]
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def prepare(self) -> None:
        """The answers, through the API."""
        for start in range(0, RESPONSES, 1000):
            items = [
                {
                    "id": f"answer-{number:05d}",
                    "messages": [{"role": "user", "content": f"What is {number}?"}],
                    "text": f"A number, {number}.",
                    "model": "bench-1",
                }
                for number in range(start, start + 1000)
            ]
            request = urllib.request.Request(
                self.redpen.url("/api/v1/responses"),
                data=json.dumps(items).encode(),
                headers={**self.headers, "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=120) as answer:
                found = json.load(answer)
            if found["stored"] != 1000:
                raise SystemExit(f"answers were not stored: {found['results'][:3]}")
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("ANALYZE")

    def one(self, number: int) -> dict[str, object]:
        return {
            "id": f"event-{number:08d}",
            "response": f"answer-{number % RESPONSES:05d}",
            "kind": "like",
            "user": f"user-{number % 5003}",
            "at": "2026-11-29T03:00:00Z",
        }

    def single(self, numbers: Iterator[int]) -> tuple[str, bytes]:
        return "/api/v1/reactions", encoded(self.one(next(numbers)))

    def batch(self, numbers: Iterator[int], items: int) -> tuple[str, bytes]:
        return "/api/v1/reactions", encoded([self.one(next(numbers)) for _ in range(items)])

    def lines(self, numbers: Iterator[int], items: int) -> tuple[str, bytes]:
        return "/api/v1/reactions", b"".join(encoded(self.one(next(numbers))) + b"\n" for _ in range(items))

    def count(self) -> int:
        with psycopg.connect(self.database) as connection:
            found = connection.execute("SELECT count(*) FROM annotation_reaction").fetchone()
        assert found is not None
        return int(found[0])


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
