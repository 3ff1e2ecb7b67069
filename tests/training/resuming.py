"""A child without torch that dies in the middle of a step and goes on from its checkpoints, as real ones do.

DIES_AT: the steps in which an attempt dies, one each, after it has said their figures.
"""

import json
import os
import sys
import time
from pathlib import Path


def main():
    folder = Path(sys.argv[1])
    order = json.loads((folder / "run.json").read_text())
    dies_at = (json.loads(os.environ.get("DIES_AT") or "[]") + [0] * 9)[order["attempt"] - 1]
    out = (folder / "events.jsonl").open("w", buffering=1)
    said = {}
    written = 0

    def say(kind, **fields):
        nonlocal written
        if kind in ("metrics", "sample", "response"):
            fields["n"] = said.get(kind, 0)
            said[kind] = fields["n"] + 1
        out.write(json.dumps({"type": kind, "seq": written, "at": time.time(), **fields}) + "\n")
        written += 1

    start = 0
    for earlier in map(Path, order["resume_from"]):
        if (earlier / "checkpoints").is_dir():
            state = json.loads((earlier / "checkpoints" / "state.json").read_text())
            say("resumed", step=state["step"], folder=earlier.name, said=state["said"])
            start, resumed = state["step"], state["said"]
            break
    say("metrics", step=0, total=6, values={"start": 1.0})  # said by every attempt, before it knows better
    if start:
        said.update(resumed)
    rows = [json.loads(line) for line in Path(order["snapshot"], "rows.jsonl").read_text().splitlines()]
    for step in range(start + 1, 7):
        say("metrics", step=step, total=6, values={"loss": 1 / step})
        say("sample", step=step, data={"text": f"sample of step {step}"})
        say("response", data={"prompt_id": rows[0]["prompt_id"], "text": f"answer of step {step}"})
        if step == dies_at:
            time.sleep(0.3)
            os._exit(9)
        if step % 2 == 0:
            (folder / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
            (folder / "checkpoints" / "state.json").write_text(json.dumps({"step": step, "said": said}))
    (folder / "artifact").mkdir()
    (folder / "artifact" / "redpen.json").write_text(json.dumps({"kind": "policy", "base": "tiny"}))
    say("artifact", path="artifact", metrics={})
    say("done")


main()
