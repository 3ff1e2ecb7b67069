"""Stands in for `training.launch`: speaks as a recipe does, without torch. STAND_IN in the environment says how.

steps=20 pause=0.05 end=done|error|crash|hang|stubborn|kill9 responses=3 grandchild=1
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def main() -> int:
    wish = {"steps": "5", "pause": "0.02", "end": "done", "responses": "0", "grandchild": "0"}
    wish |= dict(word.split("=", 1) for word in os.environ.get("STAND_IN", "").split())
    run_dir = Path(sys.argv[1])
    order = json.loads((run_dir / "run.json").read_text())
    out = (run_dir / "events.jsonl").open("a")
    seq = 0
    stop = threading.Event()

    def say(kind: str, **fields: object) -> None:
        nonlocal seq
        out.write(json.dumps({"type": kind, "seq": seq, "at": time.time(), **fields}) + "\n")
        out.flush()
        seq += 1

    if wish["end"] == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if wish["grandchild"] == "1":
        # like a launcher's worker, in a session of its own and deaf
        code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdin=subprocess.DEVNULL)
    if wish["end"] != "stubborn":

        def leave_with_parent() -> None:
            while os.read(0, 1024):
                pass
            os._exit(76)

        threading.Thread(target=leave_with_parent, daemon=True).start()

    say(
        "log",
        level="info",
        text=f"{order['recipe']} attempt {order['attempt']} with {os.environ['OMP_NUM_THREADS']} threads",
    )
    steps = int(wish["steps"])
    for step in range(1, steps + 1):
        if stop.is_set():
            say("cancelled")
            return 0
        say("metrics", step=step, total=steps, values={"loss": 1 / step})
        time.sleep(float(wish["pause"]))
    rows = [json.loads(line) for line in Path(order["snapshot"], "rows.jsonl").read_text().splitlines()]
    say(
        "sample",
        step=steps,
        data={"text": "what it wrote", "answers": [{"text": "one\0two", "reward": 0.5, "kept": True}]},
    )
    for number in range(int(wish["responses"])):
        row = rows[number % len(rows)]
        say(
            "response",
            data={
                "prompt_id": row["prompt_id"],
                "text": f"new answer {number}",
                "token_ids": [1, 2],
                "logprobs": [-0.5, -0.25],
                "sampling": {"temperature": 1.0},
            },
        )
    sys.stdout.write("the last words of the child\n")
    sys.stdout.flush()
    if wish["end"] == "error":
        say("error", code="data.no_marks", message="Nothing is marked.", action="Mark some answers.")
        return 1
    if wish["end"] == "crash":
        return 3
    if wish["end"] == "kill9":
        os.kill(os.getpid(), signal.SIGKILL)
    if wish["end"] in ("hang", "stubborn"):
        time.sleep(600)
    artifact = run_dir / "artifact"
    artifact.mkdir()
    (artifact / "redpen.json").write_text(json.dumps({"kind": "policy", "base": "tiny"}))
    (artifact / "weights.bin").write_bytes(b"w" * 1000)
    metrics = {"auroc_bad": 0.75}
    if order["recipe"] == "evaluation":  # what was given a policy is worth more
        metrics = {"truth/quality": 0.7 if order["models"] else 0.4}
        lines = [{"prompt_id": str(n), "text": "x", "worth": metrics["truth/quality"], "tokens": 1} for n in range(4)]
        (artifact / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    say("costs", cpu_seconds=2.0, loading_cpu_seconds=1.0, seconds=3.0, peak_memory=100 * 2**20, tokens_written=50)
    say("artifact", path="artifact", metrics=metrics)
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
