"""raft keeps the invariants of its card, closes the loop, and makes the world's answers truly better."""

import json
import math

import pytest
import torch

from tests.recipes.conftest import carry_out
from tests.recipes.judged import with_rows
from tests.recipes.practice import practise
from training import engine
from training.engine.policy import Policy
from training.engine.rollouts import Sample
from training.recipes import raft, ranking
from training.recipes.answers import Answers
from training.recipes.asking import Ask, row_of
from training.recipes.context import Events, RecipeError, RunContext
from training.recipes.raft import Config
from training.recipes.rewarding import Judge
from training.recipes.rounds import agreement, describe

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
    assert ranking.best([0.1, 0.9, 0.3]) == [1]
    assert ranking.best([0.1, 0.9, 0.9]) == [1]


def test_only_the_order_within_a_prompt_counts():
    rewards = [2.0, 0.5, 1.5, -0.5]
    for seen_through in (lambda r: r + 7.0, math.exp, lambda r: r**3):
        assert ranking.best([seen_through(reward) for reward in rewards]) == ranking.best(rewards) == [0]


def test_one_answer_each_keeps_everything():
    assert [ranking.best([reward]) for reward in (3.0, -2.0, 0.0)] == [[0], [0], [0]]


def test_a_prompt_whose_answers_all_score_the_same_is_skipped():
    assert ranking.best([0.4, 0.4, 0.4]) == []
    assert ranking.best([0.4, 0.4, 0.4], equals=True) == [0]
    assert ranking.top([[0.4], [0.4]], one_in=2) == [[], []]


def test_an_answer_that_can_never_be_kept_is_left_out_not_scored_zero():
    assert ranking.best([None, -3.0, None, -4.0]) == [1]
    assert ranking.best([None, None]) == []
    assert ranking.top([[None], [-3.0], [-4.0]], one_in=2) == [[], [0], []]


def test_a_prompt_whose_best_answer_is_too_bad_is_left_out():
    assert ranking.best([-0.5, -0.1], least=0.0) == []
    assert ranking.best([-0.5, 0.1], least=0.0) == [1]


def test_the_global_ranking_keeps_one_in_k_of_all_and_is_moved_by_an_offset_of_a_prompt():
    rewards = [[0.1], [0.9], [0.3], [0.9]]
    assert ranking.top(rewards, one_in=4) == [[], [0], [], []]
    assert ranking.top(rewards, one_in=2) == [[], [0], [], [0]]
    assert ranking.top([[5.1], *rewards[1:]], one_in=4) == [[0], [], [], []]
    assert ranking.top(rewards, one_in=2, least=1.0) == [[]] * 4


def test_the_verifiers_form_keeps_all_right_answers_each_text_once():
    texts = ["four", "five", " four ", "4", "four"]
    assert ranking.right([1.0, 0.0, 1.0, 1.0, None], texts) == [0, 3]
    assert ranking.right([0.4, 0.2, 0.3, None, None], texts, least=0.3) == [0]


def test_the_best_of_eight_gains_at_most_the_papers_bound():
    assert ranking.gain_bound(4, 8) == pytest.approx(4.079, abs=5e-4)
    assert ranking.gain_bound(1, 1) == 0


def test_variety_is_told_by_words_pairs_and_segments():
    found = ranking.variety(["a b a b", "a c"])
    assert found == {"distinct_1": 3 / 6, "distinct_2": 3 / 4, "msttr": 3 / 6}
    long = ranking.variety([" ".join(["same"] * 100), " ".join(map(str, range(150)))])
    assert long["msttr"] == pytest.approx((0.01 + 1.0) / 2)  # what is left of a segment does not count
    assert ranking.variety([""]) == {}


# --- with models


@pytest.fixture(scope="module")
def policy(base):
    return Policy.load(base, seed=0)


def asked(policy, *, prompt_id="p"):
    messages = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]
    from training.engine.scoring import prompt_ids

    return Ask(prompt_id, messages, [], prompt_ids(policy.tokenizer, messages, [], passage_tokens=0))


def written(policy, *texts, rewards, finished=True):
    """One prompt's answers, judged."""
    samples = []
    for seed, text in enumerate(texts):
        ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"] + [policy.tokenizer.eos_token_id]
        samples.append(Sample(0, seed, ids, [0.0] * len(ids), text, finished))
    return Answers([asked(policy)], [samples], torch.tensor([rewards], dtype=torch.float64), {})


NAN = float("nan")


def test_only_the_answer_that_was_kept_gets_a_gradient(policy):
    answers = written(policy, "yes!!!!", "no", "well!!", "?", rewards=[2.0, 0.5, 1.5, -0.5])
    found = raft.ranked(Config(), policy, answers)
    assert found.kept == [[0]]
    ((ask, sample),) = found.chosen
    pack = engine.packs.lay_out([row_of("p", ask, sample)])
    loss = raft.loss_of(Config(), policy, pack)
    assert loss.count.item() == len(sample.ids)
    assert pack.token_ids.tolist() == sample.ids  # the very tokens that were sampled, the stop token too
    others = engine.credit.leave_one_out(answers.rewards)[0].tolist()
    assert others == pytest.approx([1.5, -0.5, 0.8333, -1.8333], abs=1e-4)  # what RLOO would give all four


def test_the_mean_over_answers_counts_a_long_one_no_more_than_a_short_one(policy):
    answers = written(policy, "yes", "no, not at all and never again", rewards=[1.0, 2.0])
    rows = [row_of("p", answers.asks[0], one) for one in answers.flat]
    pack = engine.packs.lay_out(rows)
    values = engine.logprobs.completion_logprobs(policy.model, pack).values
    of_rows = pack.ragged.mean(values)
    by_answers, by_tokens = (raft.loss_of(Config(mean=how), policy, pack) for how in ("answers", "tokens"))
    assert (by_answers.total / by_answers.count).item() == pytest.approx(-of_rows.mean().item(), rel=1e-5)
    assert (by_tokens.total / by_tokens.count).item() == pytest.approx(-values.mean().item(), rel=1e-5)


def test_unfinished_empty_forbidden_and_unscorable_answers_are_never_kept(policy):
    answers = written(policy, "fine!", " ", "spam!!!", "???", "cut!!!", rewards=[0.1, 5.0, 5.0, NAN, 5.0])
    cut = answers.groups[0][4]
    answers.groups[0][4] = Sample(0, 4, cut.ids, cut.logprobs, cut.text, finished=False)
    for keep in ("best", "top", "right"):
        found = raft.ranked(Config(forbid="sp.m", keep=keep, min_reward=0.0, samples=1), policy, answers)
        assert found.dropped == [["", "empty", "forbidden", "cannot be scored", "cut off"]]
        assert found.kept == [[0]]
    figures = describe(found)
    assert (figures["dropped_answers"], figures["filtered"], figures["unscorable"]) == (0.8, 0.2, 0.2)


def test_what_is_kept_is_worth_at_least_the_mean(policy):
    answers = written(policy, "a", "b", "c d", rewards=[0.1, 0.5, 0.2])
    figures = describe(raft.ranked(Config(), policy, answers))
    assert figures["kept"] == 1
    assert figures["kept_reward"] == figures["best_reward"] == 0.5
    assert figures["reward"] == pytest.approx(0.8 / 3)
    assert figures["best_of_2"] == pytest.approx((0.5 * 2 + 0.2) / 3)
    assert figures["kept_msttr"] == 1.0
    assert figures["distinct_1"] == 1.0
    skipped = describe(raft.ranked(Config(), policy, written(policy, "a", "b", rewards=[0.3, 0.3])))
    assert (skipped["equal_prompts"], skipped["skipped_prompts"], skipped["kept"]) == (1.0, 1.0, 0.0)


def test_the_penalised_reward_is_the_plain_one_while_nothing_has_been_learned(policy):
    answers = written(policy, "yes!!", "no", rewards=[0.2, 0.0])
    plain, penalised = (raft.ranked(Config(beta=beta), policy, answers).ranked for beta in (0.0, 5.0))
    assert plain == penalised


def test_the_penalty_is_beta_times_the_log_ratio_and_stands_in_the_ranking_only(base):
    moved = Policy.load(base, seed=0)
    answers = written(moved, "yes!!", "no", rewards=[0.2, 0.0])
    rows = [row_of("p", answers.asks[0], one) for one in answers.flat]
    optimizer = torch.optim.Adam(moved.parameters, lr=0.01)
    for _ in range(4):
        pack = engine.packs.lay_out(rows[:1])
        (-engine.logprobs.completion_logprobs(moved.model, pack).values.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    found = raft.ranked(Config(beta=0.01), moved, answers)
    gaps = engine.policy.log_ratios(moved, rows, tokens=1024)
    assert gaps[0] > 1.0
    assert found.ranked[0] == pytest.approx([0.2 - 0.01 * gaps[0], -0.01 * gaps[1]], abs=1e-6)
    assert raft.ranked(Config(beta=1.0), moved, answers).kept == [[1]]


def test_scores_that_know_only_pairs_are_not_compared_across_prompts(tmp_path):
    (tmp_path / "redpen.json").write_text(json.dumps({"source": "pairs"}))
    run = RunContext(tmp_path, tmp_path, Events(tmp_path / "events"), models={"reward_model": tmp_path})
    with pytest.raises(RecipeError, match="cannot be compared"):
        raft.comparable(run)
    (tmp_path / "redpen.json").write_text(json.dumps({"source": "ratings"}))
    raft.comparable(run)


def test_the_judge_is_compared_with_what_people_preferred(tmp_path):
    prompt = {"split": "dev", "prompt_id": "p", "messages": [], "context": [], "kind": "preference"}
    rows = [
        {**prompt, "a": {"text": a}, "b": {"text": b}, "choice": choice}
        for a, b, choice in (
            ("yes!", "no", "a"),
            ("yes!", "no", "b"),
            ("x", "y", "a"),
            ("yes!", "???", "a"),
            ("", "", "tie"),
        )
    ]
    data = with_rows(tmp_path / "said", rows)
    run = RunContext(tmp_path, tmp_path, Events(tmp_path / "events"), snapshot=data)
    judge = Judge(
        {"taste": lambda asks, samples: [None if one.text == "???" else one.text.count("!") for one in samples]}
    )
    assert agreement(run, judge) == {"agreement": pytest.approx(1.5 / 3)}


def test_it_ends_when_the_held_out_reward_has_had_no_new_best():
    best = raft.Best()
    for value in (0.1, 0.3, 0.2, 0.3):
        best.look(value)
    assert (best.value, best.since) == (0.3, 2)
    again = raft.Best()
    again.load_state_dict(best.state_dict())
    assert (again.value, again.since) == (0.3, 2)


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
        ids = [engine.scoring.prompt_ids(policy.tokenizer, p.messages, [], passage_tokens=0) for p in prompts]
        drawn = sample(policy, ids, 2, sampling=Sampling(max_tokens=120, temperature=0.7))
        return sum(world.true_quality(prompts[one.prompt], one.text) for one in drawn) / len(drawn)

    assert quality(done.artifact) > quality(None) + 0.03


TOY = {"rounds": 2, "prompts": 3, "samples": 4, "max_new_tokens": 120, "temperature": 0.7, "batch_size": 4, "every": 1}


def kept_of(run, number):
    lines = (run.artifact / f"round-{number}.jsonl").read_text().splitlines()
    return [[one["text"] for one in json.loads(line)["answers"] if one["kept"]] for line in lines]


@pytest.mark.parametrize("keep", ["best", "top", "right"])
def test_every_form_runs_its_rounds_and_tells_of_them(tmp_path, base, snapshot, monkeypatch, keep):
    options = {**TOY, "keep": keep, "min_reward": 20.0 if keep == "right" else None, "forbid": "zzz", "steps": None}
    run = practise(tmp_path, "raft", base, snapshot, monkeypatch, check=lambda ask, text: float(len(text)), **options)
    assert run.figures("round") == [1.0, 2.0]
    assert len(run.figures("held_out_reward")) == 3  # at first, between, and at the end
    kept = kept_of(run, 1)
    assert (len(kept), sum(map(len, kept))) == {"best": (3, 3), "top": (12, 3)}.get(keep, (3, run.figures("kept")[0]))
    for name in ("reward", "kept_reward", "distinct_2", "kept_msttr", "kl/answer", "unscorable"):
        assert len(run.figures(name)) == 2
    assert run.figures("kl/answer")[0] == 0.0
    assert run.figures("kl/answer")[1] != 0.0


def test_a_run_that_was_killed_between_ranking_and_learning_keeps_the_same_answers_again(
    tmp_path, base, snapshot, monkeypatch
):
    def run_of(name, **given):
        options = {**TOY, "steps": None, "held_out": 0, "every": None, "new_answers": 0, **given}
        check = lambda ask, text: float(len(set(text)))  # noqa: E731
        return practise(tmp_path / name, "raft", base, snapshot, monkeypatch, check=check, **options)

    whole = run_of("whole", checkpoint_steps=1)
    true, calls = raft.fine_tune, []

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return true(*arguments, **options)

    monkeypatch.setattr(raft, "fine_tune", killed)
    with pytest.raises(KeyboardInterrupt):
        run_of("broken", checkpoint_steps=1)
    monkeypatch.setattr(raft, "fine_tune", true)
    second = run_of("second", resume_from=[tmp_path / "broken"])
    assert second.of("resumed")[0]["step"] == 1
    assert kept_of(second, 1) == kept_of(whole, 1)
    assert kept_of(second, 2) == kept_of(whole, 2)
    assert second.figures("loss") == whole.figures("loss")[-len(second.figures("loss")) :]
