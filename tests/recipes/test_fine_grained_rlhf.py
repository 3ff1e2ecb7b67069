"""fine_grained_rlhf pays each category at its segments' ends, what is paid adds up, and it ends when it strays."""

import json
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.engine.test_tokens import hard
from tests.recipes.practice import QUICK, adapter_of, practise, told_after
from tests.recipes.test_grpo import stop_at
from training import engine
from training.engine import segments
from training.engine.policy import Lora, Policy
from training.engine.segment_scoring import Judged
from training.launch import attempt
from training.recipes import fine_grained_rlhf, rewarding, valuing
from training.recipes.answers import Answers
from training.recipes.asking import Ask
from training.recipes.context import Cancelled, Events, RecipeError, RunContext
from training.recipes.registry import get
from training.recipes.segment_rewards import ByWorld, SegmentJudge

CLAUSES = "The pump runs for two minutes, and then it rests until the evening comes. It is quiet."
WEIGHTS = {"relevance": 0.3, "factuality": 0.5, "reward_model": 0.3}
SHORT = {
    "prompts": 6,
    "samples": 2,
    "epochs": 2,
    "lr": 3e-3,
    "vf": 0.1,
    "critic": "head",
    "max_new_tokens": 24,
    "reader": "support",
    "reader_segments": "words:4",
    "beta": 0.01,
    "watch_answers": 0,
    "held_out": 0,
    "new_answers": 0,
    "empty": 0.0,
}


class Says:
    """A reader that finds clauses irrelevant and sentences wrong where they hold these words; all others are OK."""

    categories = ["relevance", "factuality"]  # noqa: RUF012

    def __init__(self, irrelevant="-", wrong="-"):
        self.bad = {"relevance": irrelevant, "factuality": wrong}

    def __call__(self, chosen, samples):
        cuts = {"relevance": segments.clauses, "factuality": segments.sentences}
        return [
            {
                name: [
                    Judged(start, end, float(self.bad[name] not in one.text[start:end])) for start, end in cut(one.text)
                ]
                for name, cut in cuts.items()
            }
            for one in samples
        ]


def judge(z=1.0, reader=None, **more):
    """Segments, and a reward model whose score lies z deviations above its mean."""
    scales = {"reward_model": (-0.447, 8.3)}
    return SegmentJudge(
        {"reward_model": lambda chosen, samples: [-0.447 + 8.3 * z] * len(samples)},
        WEIGHTS,
        normalise="artifact",
        scales=scales,
        reader=reader or Says(),
        **more,
    )


@pytest.fixture(scope="module")
def policy(base):
    loaded = Policy.load(base, lora=Lora(rank=4), seed=0)
    loaded.model.eval()
    return loaded


def sample(tokenizer, text, *, stop=True):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * stop
    return engine.rollouts.Sample(0, 0, ids, [-1.0] * len(ids), text, stop)


def judged_answers(policy, judge, *texts, stop=True):
    messages = [{"role": "user", "content": "How long does the pump run?"}]
    ids = engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0)
    ask = Ask("p", messages, [], ids)
    drawn = [sample(policy.tokenizer, text, stop=stop) for text in texts]
    verdict = judge([ask] * len(drawn), drawn)
    shape = (1, len(drawn))
    parts = {name: values.reshape(shape) for name, values in verdict.parts.items()}
    return Answers([ask], [drawn], verdict.total.reshape(shape), parts, [verdict.places])


def on_tokens(policy, answers, *, by_place=True):
    rows = [row for unit in answers.units(9999) for row in unit]
    lengths = [sum(row.trained) for row in rows]
    ragged = engine.ragged.Ragged.of_lengths(lengths)
    paid = valuing.paid(policy, answers, rows, ragged, by_place=by_place)
    return [one.tolist() for one in paid.split(lengths)]


# --- what is paid, and where


@pytest.mark.parametrize("stop", [True, False])
def test_two_sentences_of_three_clauses_all_ok_pay_the_cards_sum_at_their_ends_and_the_end(policy, stop):
    assert [len(cut(CLAUSES)) for cut in (segments.clauses, segments.sentences)] == [3, 2]
    answers = judged_answers(policy, judge(z=1.0), CLAUSES, stop=stop)
    assert answers.rewards.item() == pytest.approx(0.9 + 1.0 + 0.3)
    (paid,) = on_tokens(policy, answers)
    assert sum(paid) == pytest.approx(2.2, abs=1e-5)
    where = [place for place, value in enumerate(paid) if value]
    offsets = policy.tokenizer(CLAUSES, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    ends = segments.end_tokens(CLAUSES, segments.clauses(CLAUSES), offsets)
    assert where == sorted({*ends, len(paid) - 1})
    assert [paid[place] for place in ends[:2]] == pytest.approx([0.3, 0.8], abs=1e-6)  # a clause's end, and both ends
    assert paid[-1] == pytest.approx(0.3 if stop else 0.3 + 0.8, abs=1e-5)


def test_an_error_takes_what_its_absence_pays_and_no_other_segment_is_touched(policy):
    fine, bad = judged_answers(policy, judge(reader=Says(irrelevant="rests")), "It is quiet.", CLAUSES).rewards[0]
    assert fine.item() == pytest.approx(0.3 + 0.5 + 0.3)
    assert bad.item() == pytest.approx(2.2 - 0.6)
    good = on_tokens(policy, judged_answers(policy, judge(), CLAUSES))[0]
    worse = on_tokens(policy, judged_answers(policy, judge(reader=Says(irrelevant="rests")), CLAUSES))[0]
    changed = [place for place, (a, b) in enumerate(zip(good, worse, strict=True)) if a != b]
    assert len(changed) == 1
    assert worse[changed[0]] == pytest.approx(good[changed[0]] - 0.6)


def test_as_a_mean_an_answer_in_more_segments_earns_no_more(policy):
    longer = f"{CLAUSES} {CLAUSES}"
    as_sum, as_mean = (judged_answers(policy, judge(mean=mean), CLAUSES, longer).rewards[0] for mean in (False, True))
    assert as_sum[1] > as_sum[0] + 1
    assert as_mean.tolist() == pytest.approx([0.3 + 0.5 + 0.3] * 2)


def test_paid_at_the_end_the_sum_is_the_same(policy):
    answers = judged_answers(policy, judge(reader=Says(wrong="quiet")), CLAUSES, "It is quiet.")
    for spread, whole in zip(on_tokens(policy, answers), on_tokens(policy, answers, by_place=False), strict=True):
        assert sum(whole) == pytest.approx(sum(spread), abs=1e-5)
        assert not any(whole[:-1])


@settings(max_examples=40, deadline=None)
@given(text=st.lists(hard | st.sampled_from(["a word", "two, three", "end."]), min_size=1, max_size=12).map(" ".join))
def test_whatever_the_text_and_its_tokens_what_the_tokens_get_is_what_the_segments_earned(tiny_tokenizer, text):
    one = sample(tiny_tokenizer, text)
    verdict = judge()([None], [one])
    paid = rewarding.on_tokens(tiny_tokenizer, one, verdict.places[0])
    categories = verdict.parts["relevance"].item() + verdict.parts["factuality"].item()
    assert sum(paid) == pytest.approx(categories)
    assert len(paid) == len(one.ids)


@pytest.fixture(scope="module")
def tiny_tokenizer(policy):
    return policy.tokenizer


def test_an_answer_without_a_word_has_no_segments_and_one_that_was_not_read_has_no_verdict(policy):
    assert judged_answers(policy, judge(z=-1.0), " ").rewards.item() == pytest.approx(-0.3)
    reader = Says()
    broken = SegmentJudge({}, WEIGHTS, reader=type("None", (Says,), {"__call__": lambda *_: [None]})())
    assert torch.isnan(broken([None], [sample(policy.tokenizer, "a")]).total).all()
    assert reader.categories == broken.reader.categories


def test_segments_that_were_cut_off_pay_nothing_and_are_counted(policy):
    class Cut(Says):
        def __call__(self, chosen, samples):
            (found,) = super().__call__(chosen, samples)
            first, *rest = found["relevance"]
            return [{**found, "relevance": [first, *(Judged(one.start, one.end, None) for one in rest)]}]

    cut = judge(reader=Cut())
    assert judged_answers(policy, cut, CLAUSES).rewards.item() == pytest.approx(0.3 + 1.0 + 0.3)
    figures = cut.figures()
    assert figures["rm/segments_cut"] == 2
    assert figures["segments/relevance"] == 3
    assert figures["ok/relevance"] == figures["ok/factuality"] == 1.0


def test_the_shares_of_a_reward_are_by_size_and_add_up(policy):
    found = fine_grained_rlhf.shares(judged_answers(policy, judge(z=-1.0, reader=Says(wrong="quiet")), CLAUSES))
    assert found == pytest.approx(
        {"share/reward_model": 0.3 / 1.2, "share/relevance": 0.9 / 1.2, "share/factuality": 0}
    )


def test_a_worlds_reader_finds_the_segments_that_hold_something_bad(world):
    prompt = world.prompts(1, seed=3)[0]
    text = "It is quiet here. Now stop complaining."
    ask = Ask("p", prompt.messages, prompt.context, [])
    found = ByWorld("support", segments="sentence").read(ask, text)["errors"]
    assert [text[one.start : one.end] for one in found if one.sign < 0][-1].startswith("Now stop")
    assert ByWorld("support", segments="sentence").read(Ask("q", [], [], []), text) is None
    with pytest.raises(RecipeError, match="no world “moon”"):
        ByWorld("moon", segments="sentence")


# --- credit


def test_while_policy_and_reference_are_one_the_reward_is_what_was_paid_and_whitening_keeps_its_mean(policy):
    """With gamma, lambda and values 0 an advantage is the reward itself."""
    config = fine_grained_rlhf.Config(gamma=0.0, lam=0.0, beta=0.3, critic="head", reader="support")
    width = policy.model.get_input_embeddings().weight.shape[1]
    critic = valuing.Critic(policy, engine.heads.ScoreHead(width, ("value",), bias=True), own=False)
    answers = judged_answers(policy, judge(reader=Says(irrelevant="rests")), CLAUSES, "It is quiet.")

    def pay(rows, ragged):
        return valuing.paid(policy, answers, rows, ragged, by_place=True)

    def advantages(**how):
        (part,), told = valuing.valued(
            config, policy, critic, answers.units(9999), beta=0.3, pay=pay, whitening=None, **how
        )
        assert told["kl/answer"] == 0.0
        return [value for unit in part for row in unit for value in row.of_tokens["advantages"]]

    plain = [value for row in on_tokens(policy, answers) for value in row]
    assert advantages() == pytest.approx(plain, abs=1e-5)
    white = torch.tensor(advantages(of_rewards="keep_mean"), dtype=torch.float64)
    assert white.mean().item() == pytest.approx(sum(plain) / len(plain), abs=1e-5)
    assert white.std().item() == pytest.approx(1.0, abs=1e-5)
    (part,), _ = fine_grained_rlhf.experience(config, policy, critic, answers, beta=0.3)
    own = torch.tensor([value for unit in part for row in unit for value in row.of_tokens["advantages"]])
    assert own.tolist() == pytest.approx(((white - white.mean()) / white.std()).tolist(), abs=1e-4)


def test_equal_scores_cost_bradley_terry_the_logarithm_of_two():
    loss = engine.objectives.bradley_terry(torch.zeros(3), torch.zeros(3))
    assert (loss.total / loss.count).item() == pytest.approx(0.6931, abs=1e-4)


# --- the whole recipe, in short


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", **config):
        wanted = {"check": None, **SHORT, **config}
        return practise(tmp_path / place, "fine_grained_rlhf", base, snapshot, monkeypatch, **wanted)

    return practised


def test_every_part_is_charted_and_samples_show_segments_and_advantages(run_of):
    run = run_of(steps=2, check=lambda ask, text: float("a" in text), weights="errors=0.3, checker=0.6", held_out=2)
    watched = {"ok/errors", "segments/errors", "rm/segments_cut", "share/errors", "share/checker", "reward/errors"}
    watched |= {"reward/checker", "kl/answer", "value/loss", "rewarded_tokens", "gap/mean"}
    values = run.of("metrics")[1]["values"]
    assert watched <= set(values)
    assert values["reward"] == pytest.approx(values["reward/errors"] + values["reward/checker"], abs=1e-6)
    assert values["share/errors"] + values["share/checker"] == pytest.approx(1.0)
    assert run.figures("kl/answer")[0] == 0.0
    (first, *_) = run.of("sample")[0]["data"]["answers"]
    cut = first["segments"]["errors"]
    assert [start for start, _, _ in cut[1:]] == [end for _, end, _ in cut[:-1]]
    assert {sign for _, _, sign in cut} <= {1.0, -1.0}
    assert len(first["advantages"]) >= len(cut)
    said = " ".join(event["text"] for event in run.of("log"))
    assert "Each segment pays 0.3 for errors at its end" in said
    assert "0.6 x checker" in said
    assert {file.name for file in run.artifact.iterdir()} >= {"adapter_model.safetensors", "value_head.safetensors"}


def test_a_category_without_weight_is_measured_and_pays_nothing(run_of):
    run = run_of(steps=1, check=lambda ask, text: 1.0, weights="errors=0")
    assert run.figures("reward") == [1.0]
    assert run.figures("reward/errors") == [0.0]
    assert run.figures("share/errors") == [0.0]
    assert 0 < run.figures("ok/errors")[0] <= 1


def test_it_ends_when_its_answers_have_been_too_far_too_often(run_of):
    run = run_of(steps=8, kl_limit=1e-6, kl_patience=2, lr=2e-2)
    beyond = [kl > 1e-6 for kl in run.figures("kl/answer")]
    assert len(beyond) < 8
    assert sum(beyond) == 2
    assert beyond[-1]
    (said,) = [event["text"] for event in run.of("log") if "The training ends at step" in event["text"]]
    assert "in 2 steps" in said
    assert run.of("artifact")
    assert len(run_of("on", steps=4, kl_limit=1e-6, kl_patience=0, lr=2e-2).figures("kl/answer")) == 4


def test_a_run_that_goes_on_is_the_unbroken_one_and_remembers_how_often_it_strayed(
    tmp_path, base, snapshot, run_of, monkeypatch
):
    settings = {"steps": 4, "kl_limit": 1e-6, "kl_patience": 3, "lr": 1e-2, "critic": "adapter"}
    whole = run_of("whole", **settings)
    broken = tmp_path / "broken"
    broken.mkdir()
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    stop_at(context, step=3)
    with pytest.raises(Cancelled):
        get("fine_grained_rlhf").train(context, get("fine_grained_rlhf").config({**QUICK, **SHORT, **settings}))
    second = run_of("second", resume_from=[broken], **settings)
    assert told_after(second, 0) == told_after(whole, 3)
    assert [event["text"] for event in second.of("log") if "The training ends" in event["text"]]  # its third time
    mine, theirs = adapter_of(second), adapter_of(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_all_weights_may_learn_beside_the_first_model_as_it_was(run_of, base):
    run = run_of(steps=3, trained="all", lr=1e-3)
    assert run.figures("kl/answer")[0] == pytest.approx(0.0, abs=1e-4)  # a copy rounds as it likes
    assert run.figures("kl/answer")[-1] != 0.0
    assert (run.artifact / "model.safetensors").exists()
    mine, theirs = (Policy.open(base, of).model.get_input_embeddings().weight for of in (run.artifact, None))
    assert not torch.equal(mine, theirs)
    with pytest.raises(ValidationError, match="set critic to head"):
        get("fine_grained_rlhf").config({"trained": "all", "critic": "adapter"})


def test_what_cannot_be_is_refused_in_words(run_of, tmp_path):
    with pytest.raises(RecipeError, match="weights names tone, but this run's judges are errors"):
        run_of(weights="tone=1")
    with pytest.raises(RecipeError, match="Nothing judges"):
        run_of("nothing", reader="")
    with pytest.raises(ValidationError):
        get("fine_grained_rlhf").config({"reader_segments": "paragraph"})


def test_marks_become_heads_and_heads_a_policy_as_two_launched_runs(tmp_path, base, snapshot):
    """What a worker starts, the second with what the first has made."""

    def launched(place, recipe, config, **more):
        directory = tmp_path / place
        directory.mkdir()
        order = {"run_id": place, "attempt": 1, "recipe": recipe, "config": config, "seed": 0, "threads": 1}
        order |= {"base_model": str(base), "snapshot": str(data), "models": {}, **more}
        (directory / "run.json").write_text(json.dumps(order))
        assert attempt(directory, threading.Event()) == 0
        said = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
        assert said[-1]["type"] == "done"
        assert {"log", "metrics", "sample", "artifact"} <= {event["type"] for event in said}
        return directory / "artifact"

    data = tmp_path / "data"
    data.mkdir()
    lines = (snapshot / "rows.jsonl").read_text().splitlines()
    (data / "rows.jsonl").write_text("\n".join(lines[:24]) + "\n")
    (data / "manifest.json").write_text((snapshot / "manifest.json").read_text())
    heads = launched("heads", "segment_reward_model", {"epochs": 1, "rank": 4, "passage_tokens": 0, "shortest": 1})
    config = {name: value for name, value in {**QUICK, **SHORT, "steps": 1}.items() if name != "reader"}
    made = launched("policy", "fine_grained_rlhf", config, models={"segment_reward_model": str(heads)})
    assert json.loads((made / "redpen.json").read_text())["kind"] == "policy"


def test_segments_that_pay_become_more_frequent(run_of, monkeypatch):
    class LikesThe(ByWorld):
        def read(self, ask, text):
            cut = [(start, end, " the " in f" {text[start:end]} ") for start, end in self.cut(text)]
            return {"errors": [Judged(start, end, float(ok)) for start, end, ok in cut]}

    monkeypatch.setattr(fine_grained_rlhf, "ByWorld", LikesThe)
    run = run_of(steps=7, prompts=10, samples=4, lr=8e-3, max_new_tokens=12, beta=0.0, segment_reward="mean")
    share = run.figures("ok/errors")
    assert sum(share[-2:]) / 2 > sum(share[:2]) / 2 + 0.1
