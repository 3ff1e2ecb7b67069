"""Drawing answers: however many are written at one time they are the same, and a run can be stopped while it writes."""

import threading

import pytest

from training import engine
from training.engine.policy import Policy
from training.recipes.asking import Ask, asks, draw, row_of
from training.recipes.context import Cancelled, Events, RunContext


@pytest.fixture(scope="module")
def policy(base):
    return Policy.load(base, seed=0)


@pytest.fixture
def run(tmp_path, base, snapshot):
    return RunContext(
        directory=tmp_path, events=Events(tmp_path / "events.jsonl"), base_model=base, snapshot=snapshot, seed=5
    )


def test_the_rows_written_at_one_time_change_nothing(run, policy):
    chosen = asks(run, policy.tokenizer, "train", passage_tokens=0, longest=512)[:5]
    sampling = engine.rollouts.Sampling(max_tokens=24)
    few, many = (draw(run, policy, chosen, 3, sampling=sampling, seed=9, rows=rows) for rows in (2, 64))
    assert [[one.text for one in group] for group in few] == [[one.text for one in group] for group in many]
    assert len({one.seed for group in many for one in group}) == 15


def test_a_run_that_is_stopped_while_it_writes_ends_with_the_answer_that_ends_next(run, policy, monkeypatch):
    chosen = asks(run, policy.tokenizer, "train", passage_tokens=0, longest=512)[:4]
    written = []
    true = RunContext.check_stop

    def check(context):
        written.append(1)
        if len(written) == 3:  # asked when the second answer had ended
            context.stop.set()
        true(context)

    monkeypatch.setattr(RunContext, "check_stop", check)
    with pytest.raises(Cancelled):
        draw(run, policy, chosen, 4, sampling=engine.rollouts.Sampling(max_tokens=3), seed=1, rows=2)
    assert len(written) == 3
    assert isinstance(run.stop, threading.Event)


def test_prompts_come_in_a_fixed_order_of_chance_and_long_ones_are_named(run, policy):
    everyone = asks(run, policy.tokenizer, "train", passage_tokens=0, longest=512)
    again = asks(run, policy.tokenizer, "train", passage_tokens=0, longest=512)
    assert [ask.prompt_id for ask in everyone] == [ask.prompt_id for ask in again]
    middle = sorted(len(ask.ids) for ask in everyone)[len(everyone) // 2]
    short = asks(run, policy.tokenizer, "train", passage_tokens=0, longest=middle)
    assert 0 < len(short) < len(everyone)
    said = (run.directory / "events.jsonl").read_text()
    assert f"{len(everyone) - len(short)} prompts are longer than {middle} tokens" in said


def test_a_row_is_the_prompt_and_the_very_tokens_that_were_sampled(run, policy):
    (ask,) = asks(run, policy.tokenizer, "train", passage_tokens=0, longest=512)[:1]
    ((one,),) = draw(run, policy, [ask], 1, sampling=engine.rollouts.Sampling(max_tokens=200), seed=2, rows=4)
    row = row_of("r", ask, one, of_row={"advantage": 1.0})
    assert isinstance(ask, Ask)
    assert row.ids == [*ask.ids, *one.ids]
    assert [token for token, trained in zip(row.ids, row.trained, strict=True) if trained] == one.ids
    assert row.ids[-1] in engine.tokens.stop_ids(policy.tokenizer)  # the stop token is learned as well
