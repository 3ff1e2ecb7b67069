"""What a process of its own makes of an artifact: nothing that this process holds can help it."""

import json
import subprocess
import sys

HEAD = """
import json, sys, torch
from pathlib import Path
from training import engine
torch.set_num_threads(1)
given = json.load(sys.stdin)
"""


def in_a_fresh_process(code, *given):
    """What `code` prints as JSON; it finds `given` as a list."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        input=json.dumps(given, default=str),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
