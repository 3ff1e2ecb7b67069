"""critique_grpo as a real child process, with a program of the demo's world as judge, critic and refiner."""

import json

from tests.recipes.test_launch import events, order, start, wait_for

SHORT = {
    "prompts": 2,
    "samples": 2,
    "max_new_tokens": 24,
    "passage_tokens": 0,
    "checker": "support",
    "held_out": 1,
    "new_answers": 1,
    "rank": 4,
}
CRITIQUE = {
    "steps": 2,
    "watch_answers": 0,
    "threshold": 0.9,
    "critique": "text",
    "critic": "program",
    "program": "support",
    "refiner": "support",
}


def test_a_child_trains_and_leaves_a_policy_with_its_table(tmp_path, base, snapshot):
    order(tmp_path, base, snapshot, recipe="critique_grpo", config={**SHORT, **CRITIQUE})
    process = start(tmp_path)
    wait_for(tmp_path, "artifact", process, seconds=300)
    assert process.wait(timeout=60) == 0
    told = events(tmp_path)
    (artifact,) = [event for event in told if event["type"] == "artifact"]
    assert "held_out_reward" in artifact["metrics"]
    assert {"metrics", "sample", "response"} <= {event["type"] for event in told}
    lines = [json.loads(line) for line in (tmp_path / "artifact" / "refinements.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1] * 4 + [2] * 4
    assert {line["critic"] for line in lines} <= {"program", "verdict"}
    assert (tmp_path / "artifact" / "adapter_model.safetensors").exists()
