"""raft keeps the invariants of its card, closes the loop, and makes the world's answers truly better."""

import json
import math

import pytest
import torch

from tests.recipes.conftest import carry_out
from training.engine.policy import Policy
from training.engine.rollouts import Sample
from training.recipes import raft
from training.recipes.context import RecipeError
from training.recipes.raft import Ask, Candidate, Config, describe, rank, row_of, score

SMALL = {
    "rounds": 1,
    "prompts": 6,
    "samples": 3,
    "max_new_tokens": 48,
    "batch_size": 4,
    "passage_tokens": 0,
    "held_out": 3,
    "new_answers": 4,
    "epochs": 1,
}


# --- ranking, without any model


def test_the_best_answer_is_kept_and_the_first_of_equals():
    assert rank([0.1, 0.9, 0.3]) == 1
    assert rank([0.1, 0.9, 0.9]) == 1


def test_only_the_order_within_a_prompt_counts():
    rewards = [2.0, 0.5, 1.5, -0.5]
    for seen_through in (lambda r: r + 7.0, math.exp, lambda r: r**3):
        assert rank([seen_through(reward) for reward in rewards]) == rank(rewards) == 0


def test_one_answer_each_keeps_everything():
    assert [rank([reward]) for reward in (3.0, -2.0, 0.0)] == [0, 0, 0]


def test_a_prompt_whose_answers_all_score_the_same_is_skipped():
    assert rank([0.4, 0.4, 0.4]) is None


def test_an_answer_that_cannot_be_scored_is_left_out_not_scored_zero():
    assert rank([None, -3.0, None, -4.0]) == 1
    assert rank([None, None]) is None


def test_a_prompt_whose_best_answer_is_too_bad_is_left_out():
    assert rank([-0.5, -0.1], least=0.0) is None
    assert rank([-0.5, 0.1], least=0.0) == 1


def candidates(*rewards):
    return [
        Candidate(Sample(prompt=0, seed=i, ids=[i, 1], logprobs=[0.0, 0.0], text=str(i), finished=True), reward)
        for i, reward in enumerate(rewards)
    ]


def test_what_is_kept_is_worth_at_least_the_mean():
    groups = [candidates(0.1, 0.5, 0.2), candidates(-1.0, -0.5), candidates(0.3, 0.3)]
    figures = describe(groups, [rank([one.reward for one in group]) for group in groups])
    assert figures["kept"] == 2
    assert figures["kept_reward"] == pytest.approx(0.0)
    assert figures["kept_reward"] >= figures["reward"]
    assert figures["skipped_prompts"] == pytest.approx(1 / 3)


# --- with models


@pytest.fixture(scope="module")
def policy(base):
    return Policy.load(base, seed=0)


def asked(policy, *, prompt_id="p"):
    messages = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]
    from training.engine.scoring import prompt_ids

    return Ask(prompt_id, messages, [], prompt_ids(policy.tokenizer, messages, [], passage_tokens=0))


def written(policy, *texts, finished=True):
    samples = []
    for seed, text in enumerate(texts):
        ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"] + [policy.tokenizer.eos_token_id]
        samples.append(Candidate(Sample(0, seed, ids, [0.0] * len(ids), text, finished)))
    return samples


class Liking:
    """A scorer with a simple taste: as many `!` as possible."""

    def score_many(self, items):
        return [[{"score": item["text"].count("!") / 10}] if item["text"] != "???" else None for item in items]


def test_only_the_answer_that_was_kept_gets_a_gradient(policy):
    from training import engine

    ask = asked(policy)
    group = written(policy, "yes!!!!", "no", "well!!", "?")
    score(Config(), policy, Liking(), [ask], [group])
    assert [one.reward for one in group] == pytest.approx([0.4, 0.0, 0.2, 0.0])
    kept = rank([one.reward for one in group])
    pack = engine.packs.lay_out([row_of("p", ask, group[kept].sample)])
    loss = engine.objectives.sft(engine.logprobs.completion_logprobs(policy.model, pack).values)
    assert loss.count.item() == len(group[0].sample.ids)
    assert pack.token_ids.tolist() == group[0].sample.ids  # the very tokens that were sampled, the stop token too


def test_unfinished_empty_forbidden_and_unscorable_answers_are_never_kept(policy):
    group = [*written(policy, "fine!", " ", "spam!!!!!!", "???"), *written(policy, "cut!!!!!!!", finished=False)]
    score(Config(forbid="sp.m"), policy, Liking(), [asked(policy)], [group])
    assert [one.dropped for one in group] == ["", "empty", "forbidden", "cannot be scored", "unfinished"]
    assert rank([one.reward for one in group]) == 0


def test_the_penalised_reward_is_the_plain_one_while_nothing_has_been_learned(policy):
    groups = {}
    for beta in (0.0, 5.0):
        groups[beta] = written(policy, "yes!!", "no")
        score(Config(beta=beta), policy, Liking(), [asked(policy)], [groups[beta]])
    assert [one.reward for one in groups[0.0]] == [one.reward for one in groups[5.0]]


def test_the_penalty_is_beta_times_the_log_ratio_and_stands_in_the_ranking_only(base):
    moved = Policy.load(base, seed=0)
    ask = asked(moved)
    liked = written(moved, "yes!!", "no")
    from training import engine

    optimizer = torch.optim.Adam(moved.parameters, lr=0.01)
    for _ in range(4):
        pack = engine.packs.lay_out([row_of("p", ask, liked[0].sample)])
        (-engine.logprobs.completion_logprobs(moved.model, pack).values.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    score(Config(beta=0.01), moved, Liking(), [ask], [liked])
    gaps = engine.policy.log_ratios(moved, [row_of("p", ask, one.sample) for one in liked], tokens=1024)
    assert gaps[0] > 1.0
    assert [one.reward for one in liked] == pytest.approx([0.2 - 0.01 * gaps[0], -0.01 * gaps[1]], abs=1e-6)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory, base, snapshot, span_reward_model):
    models = {"span_reward_model": span_reward_model.artifact}
    return carry_out(tmp_path_factory.mktemp("raft"), "raft", SMALL, base_model=base, snapshot=snapshot, models=models)


def test_new_answers_come_back_with_the_tokens_they_were_sampled_as(small_run, tokenizer_of_base):
    answers = [event["data"] for event in small_run.of("response")]
    assert 1 <= len(answers) <= 4
    known = {row["prompt_id"] for row in small_run.context.prompts()}
    for answer in answers:
        assert answer["prompt_id"] in known
        assert len(answer["token_ids"]) == len(answer["logprobs"])
        ids = answer["token_ids"][:-1] if answer["sampling"]["finished"] else answer["token_ids"]
        assert tokenizer_of_base.decode(ids) == answer["text"]


@pytest.fixture(scope="module")
def tokenizer_of_base(base):
    from training.engine.models import load_base

    return load_base(base)[1]


def test_no_prompt_of_dev_or_test_is_trained_on(small_run):
    train = {prompt["prompt_id"] for prompt in small_run.context.prompts("train")}
    others = {prompt["prompt_id"] for prompt in small_run.context.prompts()} - train
    lines = (small_run.artifact / "round-1.jsonl").read_text().splitlines()
    used = {json.loads(line)["prompt_id"] for line in lines}
    assert used <= train
    assert others
    assert not used & others


def test_the_rounds_whole_set_is_kept_with_scores_and_reasons(small_run):
    rounds = [json.loads(line) for line in (small_run.artifact / "round-1.jsonl").read_text().splitlines()]
    assert len(rounds) == 6
    for group in rounds:
        assert len(group["answers"]) == 3
        kept = [answer for answer in group["answers"] if answer["kept"]]
        scored = [answer["reward"] for answer in group["answers"] if answer["reward"] is not None]
        assert len(kept) <= 1
        assert not kept or kept[0]["reward"] == max(scored)
        assert all(answer["dropped"] for answer in group["answers"] if answer["reward"] is None)


def test_the_same_seed_keeps_the_same_answers(small_run, tmp_path, base, snapshot, span_reward_model):
    models = {"span_reward_model": span_reward_model.artifact}
    again = carry_out(tmp_path, "raft", SMALL, base_model=base, snapshot=snapshot, models=models)
    assert (again.artifact / "round-1.jsonl").read_text() == (small_run.artifact / "round-1.jsonl").read_text()
    assert again.figures("loss") == small_run.figures("loss")


def test_a_run_may_continue_the_policy_of_another(small_run, tmp_path, base, snapshot, span_reward_model):
    models = {"span_reward_model": span_reward_model.artifact, "policy": small_run.artifact}
    config = {**SMALL, "prompts": 2, "new_answers": 0}
    done = carry_out(tmp_path, "raft", config, base_model=base, snapshot=snapshot, models=models)
    assert json.loads((done.artifact / "redpen.json").read_text())["parent"] == str(small_run.artifact)
    assert done.figures("held_out_reward")[0] == pytest.approx(small_run.figures("held_out_reward")[-1], abs=1e-6)
    assert {file.name for file in done.artifact.iterdir()} >= {"adapter_model.safetensors", "adapter_config.json"}


def test_prompts_that_do_not_fit_are_counted_and_none_left_is_said(tmp_path, base, snapshot, span_reward_model):
    models = {"span_reward_model": span_reward_model.artifact}
    with pytest.raises(RecipeError, match="no prompt in the train split that fits"):
        carry_out(
            tmp_path, "raft", {**SMALL, "max_prompt_tokens": 8}, base_model=base, snapshot=snapshot, models=models
        )


def test_true_quality_rises(tmp_path, base, snapshot, span_reward_model, world):
    """The world knows how good an answer really is; the reward model only saw marks."""
    from training.engine.rollouts import Sampling, sample

    models = {"span_reward_model": span_reward_model.artifact}
    config = {
        **SMALL,
        "rounds": 3,
        "prompts": 40,
        "samples": 6,
        "max_new_tokens": 120,
        "temperature": 0.7,
        "lr": 3e-3,
        "batch_size": 8,
        "epochs": 2,
        "held_out": 0,
    }
    done = carry_out(tmp_path, "raft", config, base_model=base, snapshot=snapshot, models=models)
    prompts = world.prompts(60, seed=11, split="test")

    def quality(adapter):
        policy = Policy.open(base, adapter)
        ids = [raft.engine.scoring.prompt_ids(policy.tokenizer, p.messages, [], passage_tokens=0) for p in prompts]
        drawn = sample(policy, ids, 2, sampling=Sampling(max_tokens=120, temperature=0.7))
        return sum(world.true_quality(prompts[one.prompt], one.text) for one in drawn) / len(drawn)

    assert quality(done.artifact) > quality(None) + 0.03
