"""critique_grpo keeps the invariants of its card: one refinement joins its group, as an answer to the plain prompt."""

import json
import random

import pytest
import torch

from tests.recipes.judged import with_rows
from tests.recipes.practice import QUICK, adapter_of, judge_by, practise, told_after
from training import engine
from training.recipes import critics, critique_grpo
from training.recipes.answers import Answers
from training.recipes.asking import Ask
from training.recipes.context import Cancelled, Events, RecipeError, RunContext
from training.recipes.critics import Attempt, Critic, Refining, concluded, people_said, truths_of
from training.recipes.refinements import Refinement, choose, differences, joined, rescued
from training.recipes.registry import get
from training.worlds.people import Mark
from training.worlds.registry import world as world_of

NAN = float("nan")


# --- which refinement joins its group


def test_the_first_right_refinement_is_chosen_else_the_first_of_the_best():
    assert choose([0.0, 1.0, 1.0, 0.0]) == 1
    assert choose([0.0, 0.0, 0.0, 0.0]) == 0
    assert choose([0.2, 0.7, 0.7]) == 1
    assert choose([NAN, 0.3, NAN]) == 1
    assert choose([NAN, NAN]) is None


def sample(*ids, text="", finished=True):
    return engine.rollouts.Sample(0, 0, list(ids), [0.0] * len(ids), text, finished)


def asked(name="p0", ids=(5, 6, 7)):
    return Ask(name, [{"role": "user", "content": "May I?"}], [], list(ids))


def test_it_takes_the_place_of_the_first_attempt_and_the_group_keeps_its_size():
    attempts = Answers([asked()], [[sample(1), sample(2), sample(3)]], torch.tensor([[0.0, 0.0, 0.0]]).double(), {})
    wrong, right = (
        Refinement(str(place), 0.0, "wrong", "verdict", sample(9, place), float(place), chosen=place == 1)
        for place in range(2)
    )
    group, refined = joined(attempts, [[wrong, right]])
    assert [one.ids for one in group.groups[0]] == [[9, 1], [2], [3]]
    assert group.rewards.tolist() == [[1.0, 0.0, 0.0]]
    assert refined.tolist() == [[True, False, False]]
    assert rescued(attempts.rewards.tolist()[0], [wrong, right])
    assert attempts.groups[0][0].ids == [1]
    (unit,) = group.units(999)
    assert [row.ids[:3] for row in unit] == [[5, 6, 7]] * 3  # the plain prompt: no attempt, no critique
    assert unit[0].ids == [5, 6, 7, 9, 1]
    assert unit[0].trained == [False] * 3 + [True] * 2


def test_a_group_of_which_nothing_could_be_refined_stays_as_it_is():
    attempts = Answers([asked()], [[sample(1), sample(2)]], torch.tensor([[0.0, 1.0]]).double(), {})
    group, refined = joined(attempts, [[Refinement("1", 0.0, "wrong", "verdict")]])
    assert group.groups == attempts.groups
    assert not refined.any()


# --- critics


def words(*said):
    return lambda attempts, *, seed: list(said)


def test_a_critique_says_right_or_wrong_and_with_a_known_answer_that_too():
    attempts = [Attempt(asked(), "no", right=False), Attempt(asked("p1"), "yes", right=True)]
    simple = Critic("simple", truths={"p0": "yes"})(attempts, seed=0)
    assert [one.text for one in simple] == ["The answer is wrong.", "The answer is right."]
    with_truth = Critic("simple_gt", truths={"p0": "yes"})(attempts, seed=0)
    assert [one.text for one in with_truth] == [
        "The answer is wrong. A right answer is: yes",
        "The answer is right.",
    ]
    assert not any(one.fell_back for one in [*simple, *with_truth])


def test_only_wrong_answers_are_criticised_in_words_and_a_critic_that_fails_falls_back():
    attempts = [Attempt(asked(), text, right=text == "yes") for text in ("a", "yes", "b")]
    told = Critic("text", "program", words('"a": foreign', None), truths={"p0": "yes"})(attempts, seed=0)
    assert [(one.text, one.by, one.fell_back) for one in told] == [
        ('"a": foreign', "program", False),
        ("The answer is right. A right answer is: yes", "verdict", False),
        ("The answer is wrong. A right answer is: yes", "verdict", True),
    ]


def test_a_critique_of_a_model_must_come_to_a_conclusion_and_ends_there():
    assert concluded("It says one.\nConclusion: wrong [END] and so on") == "It says one.\nConclusion: wrong"
    assert concluded("It says one, and so on") is None


def test_the_policy_is_asked_up_to_three_times_to_criticise(monkeypatch):
    calls = []

    class Own:
        def __init__(self, policy, rows, heed):
            pass

    def sample_with(backend, prompts, n, *, sampling, seed):
        calls.append((len(prompts), seed))
        return [sample(1, text="Conclusion: wrong" if place == 0 else "well") for place in range(len(prompts))]

    monkeypatch.setattr(engine.rollouts, "Own", Own)
    monkeypatch.setattr(engine.rollouts, "sample_with", sample_with)
    monkeypatch.setattr(critics, "_ids", lambda policy, messages: [1])
    run = RunContext.__new__(RunContext)
    run.tokens_written = 0
    write = critics.by_policy(run, None, sampling=None, rows=4, truths={})
    attempts = [Attempt(asked(), str(k), right=False) for k in range(4)]
    assert write(attempts, seed=5) == ["Conclusion: wrong"] * 3 + [None]
    assert [count for count, _ in calls] == [4, 3, 2]
    assert len({seed for _, seed in calls}) == 3


def test_a_critique_models_words_and_poor_phrases_are_its_critique(monkeypatch, tmp_path):
    from training.engine.critique_writing import CritiqueWriter, Written
    from training.engine.critiques import Critique

    temperatures = []

    class Writer:
        def write_many(self, items, *, temperature, **how):
            temperatures.append(temperature)
            said = Critique("Off the topic.", [], ["rain"])
            return [Written(said, None) if item["text"] == "sun rain" else None for item in items]

    monkeypatch.setattr(CritiqueWriter, "load", classmethod(lambda cls, folder, beside: Writer()))
    run = RunContext(tmp_path, tmp_path, Events(tmp_path / "events"), models={"critique_model": tmp_path})
    write = critics.by_model(run, None, temperature=0.7, rows=4)
    attempts = [Attempt(asked(), text, right=False) for text in ("sun rain", "???")]
    assert write(attempts, seed=1) == ['Off the topic.\n"rain": poor', None]
    assert temperatures == [0.0, 0.7, 0.7]
    with pytest.raises(RecipeError, match="none was given"):
        critics.by_model(RunContext(tmp_path, tmp_path, run.events), None, temperature=0.7, rows=4)


def test_the_policy_is_asked_again_with_its_answer_and_the_critique_in_the_last_question():
    ask = Ask("p", [{"role": "user", "content": "May I?"}], [], [])
    system, question = Refining("Be kind.", "Close with a dot.").messages(ask, "no", "The answer is wrong.")
    assert system == {"role": "system", "content": "Be kind."}
    for piece in ("May I?", "no", "The answer is wrong.", "Close with a dot."):
        assert piece in question["content"]


def test_what_people_said_is_read_from_their_marks_words_and_rewrites(tmp_path):
    prompt = {"split": "train", "prompt_id": "p0", "messages": [{"role": "user", "content": "May I?"}], "context": []}
    bad, good = ({"start": 3, "end": 7, "sentiment": s, "critique": "rude", "label": "x"} for s in (-1, 1))
    rows = [
        {**prompt, "kind": "response", "response_id": "r0", "text": "No, you!", "spans": [bad, good], "reviewed": True},
        {**prompt, "kind": "verdict", "response_id": "r0", "text": "No, you!", "verdict": "bad", "words": "Too short."},
        {**prompt, "kind": "response", "response_id": "r1", "text": "Yes.", "spans": [good], "reviewed": True},
        {**prompt, "kind": "rewrite", "response_id": "r0", "text": "No, you!", "better": {"text": "Yes, do."}},
        {**prompt, "kind": "demonstration", "response_id": "r2", "text": "By all means.", "split": "test"},
    ]
    folder = with_rows(tmp_path / "said", rows)
    run = RunContext(directory=tmp_path, events=Events(tmp_path / "events"), base_model=tmp_path, snapshot=folder)
    said = people_said(run, critiques=True, rewrites=True)["p0"]
    assert [(one.text, one.words, one.better) for one in said] == [
        ("No, you!", "", "Yes, do."),
        ("No, you!", '"you": rude\nToo short.', ""),
    ]
    assert truths_of(run) == {"p0": "Yes, do."}


def test_the_stand_in_mends_what_is_quoted_and_nothing_else():
    world = world_of("words:all")
    prompt = next(one for one in world.prompts(50, seed=1) if one.topic == world.topics[0])
    own, other = world.lexicon[world.topics[0]], world.lexicon[world.topics[1]]
    text = " ".join([*own[:5], *other[:2], *own[:5]])
    assert world.true_quality(prompt, text) == 0.0
    (told,) = critics.by_program("words:all")([Attempt(Ask("p", prompt.messages, (), []), text, right=False)], seed=0)
    assert [line.partition(": ")[0] for line in told.split("\n")] == [f'"{other[0]}"', f'"{other[1]}"']
    better = [critics.followed(world, prompt, text, told, random.Random(k)) for k in range(300)]
    right = sum(world.true_quality(prompt, one) for one in better) / 300
    assert 0.5 < right < 0.66  # .8 squared, less the slips of twelve words
    blind = [critics.followed(world, prompt, text, "The answer is wrong.", random.Random(k)) for k in range(300)]
    assert sum(world.true_quality(prompt, one) for one in blind) == 0
    assert sum(one == text for one in blind) > 240


def test_a_world_that_there_is_not_is_said():
    with pytest.raises(RecipeError, match="no world"):
        critics.by_program("nowhere")


def test_a_difference_is_told_in_words_that_stayed_went_and_came():
    found = differences("sun rain cat", "sun snow cat")
    assert found == [("same", "sun "), ("gone", "rain"), ("new", "snow"), ("same", " cat")]
    assert "".join(words for kind, words in found if kind != "gone") == "sun snow cat"


# --- the whole recipe, on the tiny base


class Greeting:
    """A world where a right answer is “Hi there”; it quotes what stands there instead."""

    vocabulary = ()

    def prompt_from(self, messages, context):
        return messages

    def marks(self, prompt, text):
        return [] if text == "Hi there" else [Mark(0, len(text), text, -1, 2, "no_greeting", "", "Hi there")]


SMALL = {
    "steps": 3,
    "prompts": 3,
    "samples": 4,
    "critique": "text",
    "critic": "program",
    "program": "greeting",
    "refiner": "greeting",
    "rewrites": False,
    "held_out": 2,
    "new_answers": 0,
}


def says_hi_there(ask, text):
    """What the tiny base never writes by itself in six tokens."""
    return float(text == "Hi there")


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    monkeypatch.setattr(critics, "world_named", lambda words: Greeting())
    monkeypatch.setattr(critics, "FOLLOWS", 1.0)

    def practised(name="run", *, check=says_hi_there, data=snapshot, **config):
        settings = {**SMALL, **config}
        return practise(tmp_path / name, "critique_grpo", base, data, monkeypatch, check=check, **settings)

    return practised


def table_of(run):
    return [json.loads(line) for line in (run.artifact / "refinements.jsonl").read_text().splitlines()]


def test_it_learns_from_refinements_where_every_attempt_fails(run_of):
    run = run_of(steps=6, lr=1e-2, held_out=0)
    assert run.figures("groups/solved")[0] == 0.0
    assert run.figures("groups/rescued")[0] == 1.0
    assert run.figures("groups/flat")[0] == 0.0
    assert run.figures("refinement/gain")[0] == 1.0
    assert run.figures("refinement/p")[-1] > run.figures("refinement/p")[0] + 0.1
    assert 0 < run.figures("refinement/f")[0] < run.figures("refinement/f")[-1] < 10 / 11
    assert run.figures("critic/fallback")[0] == 0.0
    assert run.figures("gap/mean")[0] < 1e-3  # refinements are not what the sampler wrote to this prompt


def test_refinements_and_who_was_rescued_stand_beside_the_artifact_and_in_the_samples(run_of):
    run = run_of(steps=1)
    table = table_of(run)
    assert len(table) == 3 * 4  # one refinement of every attempt
    assert sum(line["chosen"] for line in table) == sum(line["rescued"] for line in table) == 3
    first = table[0]
    assert first["critique"] == f'"{" ".join(first["answer"].split())}": no greeting'
    assert (first["refinement"], first["reward"], first["refined_reward"]) == ("Hi there", 0.0, 1.0)
    shown = run.of("sample")[0]["data"]
    before, after = shown["answers"]
    assert after["rescued"]
    assert before["critique"]
    assert "".join(words for kind, words in after["diff"] if kind != "gone") == "Hi there" == after["text"]
    card = json.loads((run.artifact / "redpen.json").read_text())
    assert card["kind"] == "policy"


def test_nothing_to_say_teaches_nothing(run_of):
    run = run_of(steps=2, critique="simple", critic="self", held_out=0)
    assert run.figures("groups/flat") == [1.0, 1.0]
    assert run.figures("groups/rescued") == [0.0, 0.0]
    fresh = engine.policy.Policy.load(run.context.base_model, lora=engine.policy.Lora(rank=8), seed=0).state_dict()
    saved = adapter_of(run)
    assert all(torch.equal(saved[name.replace(".default", "")], value) for name, value in fresh.items())


def test_the_first_ratio_is_exactly_one_and_only_answers_get_a_gradient(run_of, monkeypatch):
    seen = []
    true = engine.objectives.critique_grpo

    def watch(logprobs, old, advantages, refined, ragged, **options):
        seen.append((logprobs.detach(), old, refined, ragged))
        return true(logprobs, old, advantages, refined, ragged, **options)

    monkeypatch.setattr(engine.objectives, "critique_grpo", watch)
    run_of(steps=1, updates=2, held_out=0)
    logprobs, old, refined, ragged = seen[0]
    others = ~ragged.spread(refined)
    assert refined.sum() >= 1
    assert torch.equal(logprobs[others], old[others])
    assert not torch.equal(seen[-1][0], seen[-1][1])


def test_the_policy_itself_refines_and_criticises(run_of):
    run = run_of(steps=1, critic="self", refiner="", critique_tokens=8, held_out=0, check=lambda ask, text: 0.0)
    assert run.figures("critic/fallback") == [1.0]  # it cannot write a critique, so that all fall back
    assert run.figures("refinement/missing") == [0.0]
    assert {line["critique"] for line in table_of(run)} == {"The answer is wrong."}
    assert run.figures("groups/flat") == [1.0]


def test_a_refinement_that_was_cut_off_is_wrong(run_of, monkeypatch):
    true = critics.as_sampled

    def cut(policy, ask, text, **how):
        one = true(policy, ask, text, **how)
        return engine.rollouts.Sample(0, 0, one.ids, one.logprobs, one.text, finished=False)

    monkeypatch.setattr(critics, "as_sampled", cut)
    run = run_of(steps=1, held_out=0)
    assert run.figures("refinement/reward") == [0.0]


def test_a_threshold_makes_right_and_wrong_of_a_reward(run_of):
    run = run_of(steps=1, check=lambda ask, text: 0.7 if text == "Hi there" else 0.2, threshold=0.5)
    assert run.figures("refinement/reward") == [1.0]
    assert run.figures("reward") == [0.0]
    assert run.figures("reward/checker") == [pytest.approx(0.2)]
    assert run.figures("groups/rescued") == [1.0]
    assert run.figures("held_out_reward")[0] == 0.0


def test_a_persons_rewrite_is_the_refinement_of_its_prompt_and_their_critiques_are_followed(run_of, snapshot, tmp_path):
    rows = [json.loads(line) for line in (snapshot / "rows.jsonl").read_text().splitlines()][:40]
    train = [row for row in rows if row["split"] == "train"]
    mended, criticised = train[:2]
    whole = len(criticised["text"])
    span = {"start": 0, "end": whole, "sentiment": -1, "label": "x", "critique": "should be Hi"}
    said = [
        {**mended, "kind": "rewrite", "better": {"response_id": "b", "text": "Hi you"}, "records": []},
        {**criticised, "kind": "response", "spans": [span], "reviewed": True},
    ]
    data = with_rows(tmp_path / "said", said)
    run = run_of(steps=2, prompts=2, data=data, critic="people", program="", rewrites=True, held_out=0)
    table = table_of(run)
    by_prompt = {
        prompt: [line for line in table if line["prompt_id"] == prompt]
        for prompt in (mended["prompt_id"], criticised["prompt_id"])
    }
    for line in by_prompt[mended["prompt_id"]]:
        assert (line["refinement"], line["refined_reward"], line["critic"], line["chosen"]) == (
            "Hi you",
            1.0,
            "people",
            True,
        )
    for line in by_prompt[criticised["prompt_id"]]:
        assert line["answer"] == criticised["text"]
        assert line["critique"].endswith(": should be Hi")
        assert line["refinement"] == "Hi there"
        assert line["reward"] is None
    assert run.figures("groups/rescued") == [1.0, 1.0]


def test_a_run_that_was_stopped_and_taken_up_again_is_the_unbroken_one_bit_for_bit(
    tmp_path, base, snapshot, monkeypatch, run_of
):
    settings = {"steps": 3, "minibatches": 2, "beta": 0.01, "clip": 0.2, "critic": "self", "critique_tokens": 8}
    whole = run_of("whole", **settings)
    options = {**QUICK, **SMALL, **settings, "checker": judge_by(monkeypatch, says_hi_there)}
    broken = tmp_path / "broken"
    broken.mkdir()
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    true = context.metrics

    def metrics(number, total, **values):
        true(number, total, **values)
        if number == 2:
            context.stop.set()

    context.metrics = metrics
    with pytest.raises(Cancelled):
        get("critique_grpo").train(context, get("critique_grpo").config(options))
    second = run_of("second", resume_from=[broken], **settings)
    assert second.of("resumed")[0]["step"] == 2
    assert told_after(second, 0) == told_after(whole, 2)
    mine, theirs = adapter_of(second), adapter_of(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert table_of(second) == table_of(whole)


def test_fifty_steps_without_a_gain_are_said_in_the_log():
    memory, said = {}, []
    for number in range(60):
        memory, notices = engine.alarms.look(memory, {"refinement/gain": 0.01 if number else 0.5})
        said += [(number, notice.text) for notice in notices if notice.alarm == "refinement_gain"]
    ((when, text),) = said
    assert when == 50
    assert "twice" in text


def test_options_that_do_not_go_together_are_refused():
    for wrong in ({"samples": 1}, {"critique": "text", "critic": "program"}, {"gamma": 0}):
        with pytest.raises(ValueError):
            critique_grpo.Config(**wrong)


def test_all_weights_may_be_trained_and_the_artifact_is_then_a_whole_model(run_of):
    run = run_of(steps=2, trained="all", lr=1e-3, held_out=2)
    assert (run.artifact / "model.safetensors").exists()
    opened = engine.policy.Policy.open(run.context.base_model, run.artifact)
    base = engine.policy.Policy.open(run.context.base_model, None)
    mine, theirs = (next(iter(one.model.parameters())) for one in (opened, base))
    assert not torch.equal(mine, theirs)
