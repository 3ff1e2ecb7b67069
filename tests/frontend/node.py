"""Asks our ES modules things, without a browser: what needs no DOM is tested under node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

MODULES = Path(__file__).resolve().parents[2] / "frontend" / "static" / "js"
SERVER = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const { module, code, args } = JSON.parse(line);
  const m = await import(module);
  const value = await new Function("m", "a", `return (${code})`)(m, args);
  console.log(JSON.stringify(value === undefined ? null : value));
}
"""


class Node:
    """`node.ask("desk/offsets.js", "new m.CodePoints(a[0]).length", "text")`: `m` is the module, `a` the arguments."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [shutil.which("node"), "--input-type=module", "-e", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, module: str, code: str, *args: Any) -> Any:
        question = {"module": (MODULES / module).as_uri(), "code": code, "args": args}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise AssertionError(self.process.stderr.read())
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=10)


@pytest.fixture(scope="session")
def node():
    if not shutil.which("node"):
        pytest.skip("node is not installed; the browser tests run the same modules")
    asked = Node()
    yield asked
    asked.close()
