"""The demo's story over several seeds, through the API of a real `manage.py up`: ten answers are marked, the prepared
span reward model is trained again with these marks too, and Text2Grad trains the tiny base with it, once for each seed,
with the settings that the model's page opens its form on. The world counts bad phrases in the answers to 80 prompts
that nothing learned from, before and after. The interval of a run is Student's over its prompts, that of the whole over
seeds. Settings were chosen on seeds 101 to 103, which are not among these.

    python -m benchmarks.story      about 6 minutes; the last line is one JSON object
"""

import argparse
import json
import time
from typing import Any

import httpx

from benchmarks.harness import finish, interval, say, sign_in
from redpen.accounts.demo import DEMO_LOGINS, DEMO_PASSWORD
from tests.running import Running, running
from training.compare.stats import paired
from training.worlds.demo import PREPARED, PREPARED_BASE, STORY
from training.worlds.registry import world as world_of

API = "/api/v1/projects/demo"
MARKED = 10
LABELS = """
from annotation.models import Label
print({row.key: str(row.pk) for row in Label.objects.filter(project__slug="demo")})
"""


def sent(answer: httpx.Response) -> Any:
    """What came back; ends the benchmark with the reason where it was refused."""
    if answer.status_code >= 300:
        raise SystemExit(f"{answer.request.url}: {answer.status_code} {answer.text[:300]}")
    return answer.json()


def mark_ten(client: httpx.Client, redpen: Running) -> None:
    """The shortest wrong phrase of each of ten answers that are dealt."""
    world, marked = world_of("support"), 0
    told = redpen.manage("shell", "-v", "0", "-c", LABELS).strip().splitlines()[-1]
    labels = json.loads(told.replace("'", '"'))
    while marked < MARKED:
        dealt = sent(client.post(f"{API}/assignments/next?kind=spans"))["assignment"]
        response = dealt["response"]
        prompt = world.prompt_from(dealt["prompt"]["messages"], dealt["prompt"]["context"])
        found = [one for one in world.marks(prompt, response["text"]) if one.sentiment < 0 and one.end > one.start]
        if found:
            one = min(found, key=lambda mark: mark.end - mark.start)
            mark = {"start": one.start, "end": one.end, "quote": response["text"][one.start : one.end]}
            mark |= {"label": labels[one.label], "critique": one.critique, "assignment": dealt["id"]}
            key = {"Idempotency-Key": f"story-{marked}"}
            sent(client.post(f"{API}/responses/{response['id']}/spans", json=mark, headers=key))
            marked += 1
        sent(client.post(f"{API}/assignments/{dealt['id']}/submit", json={}))


def ended(client: httpx.Client, number: int) -> dict[str, Any]:
    """A run, when it has succeeded."""
    while (run := sent(client.get(f"{API}/runs/{number}")))["state"] in ("queued", "running"):
        time.sleep(1)
    if run["state"] != "succeeded":
        raise SystemExit(f"Run {number} has {run['state']}.")
    return run


def train(client: httpx.Client, recipe: str, **more: Any) -> dict[str, Any]:
    began = time.monotonic()
    launched = sent(client.post(f"{API}/runs", json={"recipe": recipe, "base_model": PREPARED_BASE, **more}))
    return {**ended(client, launched["number"]), "took": time.monotonic() - began}


def compared(client: httpx.Client, number: int) -> list[dict[str, Any]]:
    """The pairs of answers that the run's page shows."""
    for event in sent(client.get(f"{API}/runs/{number}/events?type=sample"))["events"]:
        if "comparison" in event["data"]["data"]:
            return event["data"]["data"]["comparison"]
    raise SystemExit(f"Run {number} shows nothing before and after.")


def bad(answer: dict[str, Any]) -> float:
    """Phrases that are marked as bad in it."""
    return float(sum(mark[2] < 0 for mark in answer["marks"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    chosen = parser.parse_args()
    with running(DEMO="true", BASE_MODEL=PREPARED_BASE, TRAIN_THREADS="1") as redpen:
        began = time.monotonic()
        redpen.start_and_wait(240)
        started = time.monotonic() - began
        client = sign_in(redpen, DEMO_LOGINS[0].email, DEMO_PASSWORD)
        ended(client, 1)
        prepared = time.monotonic() - began - started
        mark_ten(client, redpen)
        scorer = train(client, "span_reward_model", name=PREPARED)
        say(f"start {started:.0f} s, prepared model {prepared:.0f} s more; again with ten marks {scorer['took']:.0f} s")
        runs, changes = [], []
        options = {**STORY, "truth": "support"}
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
            inputs = {"span_reward_model": scorer["model"]}
            run = train(client, "text2grad", config=options, inputs=inputs, seed=seed)
            pairs = compared(client, run["number"])
            before, after = ({n: bad(one[when]) for n, one in enumerate(pairs)} for when in ("before", "after"))
            found = paired(after, before)
            assert found is not None
            changes.append(found.difference.mean)
            rates = [sum(counts.values()) / len(pairs) for counts in (before, after)]
            runs.append({"seed": seed, "rates": rates, "change": found.difference.as_json(), "seconds": run["took"]})
            say(str(runs[-1]))
    finish(change=interval(changes), runs=runs, start=started, prepared=prepared, reward_model=scorer["took"])


if __name__ == "__main__":
    main()
