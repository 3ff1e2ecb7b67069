"""What the engine says of itself stands in the run's log, where the admin looks."""

import json
import logging
from pathlib import Path

from training.launch import engine_heard
from training.recipes.context import Events, RunContext


def said(folder: Path) -> list[tuple[str, str]]:
    return [(one["level"], one["text"]) for one in map(json.loads, (folder / "events.jsonl").read_text().splitlines())]


def test_a_model_that_is_computed_row_by_row_is_said_in_the_runs_log(tmp_path):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.engine.attention import takes_forests

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, attn_implementation="eager", **sizes))
    run = RunContext(directory=tmp_path, base_model=tmp_path, events=Events(tmp_path / "events.jsonl"))
    with engine_heard(run):
        assert not takes_forests(model, torch.device("cpu"))
    [(level, text)] = said(tmp_path)
    assert level == "warning"
    assert "LlamaForCausalLM is computed row by row" in text


def test_after_the_run_nothing_is_written_any_more(tmp_path):
    run = RunContext(directory=tmp_path, base_model=tmp_path, events=Events(tmp_path / "events.jsonl"))
    with engine_heard(run):
        pass
    logging.getLogger("redpen.engine").warning("to nobody")
    assert said(tmp_path) == []
