"""sft learns what people wrote, mended or liked: in the tokens it was sampled as, and nothing else."""

import json
import logging

import pytest

from tests.recipes.conftest import carry_out
from tests.recipes.fresh import in_a_fresh_process
from tests.recipes.judged import rows_of, with_rows, write_judged
from tests.recipes.quality import true_quality
from training import engine
from training.engine.policy import Policy
from training.recipes import sft
from training.recipes.context import Events, RecipeError, RunContext
from training.recipes.learning import votes

log = logging.getLogger(__name__)

TINY = {
    "epochs": 2,
    "batch_size": 8,
    "lr": 3e-3,
    "rank": 4,
    "passage_tokens": 0,
    "new_answers": 0,
    "evaluate_every": 4,
    "reviewed": False,
    "liked": False,
}


@pytest.fixture(scope="module")
def tokenizer(base):
    return engine.models.load_base(base)[1]


@pytest.fixture(scope="module")
def small_run(tmp_path_factory, base, judged):
    rows = [row for row in rows_of(judged) if row["kind"] in ("rewrite", "demonstration")]
    folder = with_rows(tmp_path_factory.mktemp("rows"), rows[:60])
    config = {**TINY, "new_answers": 2, "max_new_tokens": 24}
    return carry_out(tmp_path_factory.mktemp("sft"), "sft", config, base_model=base, snapshot=folder)


def run_on(tmp_path, base, rows):
    folder = with_rows(tmp_path / "rows", rows)
    return RunContext(directory=tmp_path, base_model=base, events=Events(tmp_path / "events.jsonl"), snapshot=folder)


def picked(run, **options):
    config = sft.Config(**{**TINY, "rewrites": False, "demonstrations": False, **options})
    return [answer["response_id"] for _, _, answer in sft.chosen(run, config, "train")]


def said(kind, response, **fields):
    prompt = {"split": "train", "prompt_id": "p", "messages": [{"role": "user", "content": "Why?"}], "context": []}
    return {**prompt, "kind": kind, "records": [f"r-{response}"], "response_id": response, "text": response, **fields}


# --- which answers


def test_the_better_version_is_learned_and_a_demonstration_as_it_stands(tmp_path, base):
    better = {"response_id": "b", "text": "Better."}
    run = run_on(tmp_path, base, [said("rewrite", "a", better=better), said("demonstration", "d")])
    assert picked(run, rewrites=True) == ["b"]
    assert picked(run, demonstrations=True) == ["d"]
    assert picked(run) == []


def test_an_answer_is_liked_when_more_people_spoke_for_it_than_against_it(tmp_path, base):
    tap = {"reactions": [], "silent": False}
    rows = [
        said("reaction", "loved", polarity=1, **tap),
        said("verdict", "loved", verdict="good", words=""),
        said("reaction", "loved", polarity=-1, **tap),
        said("reaction", "torn", polarity=1, **tap),
        said("verdict", "torn", verdict="bad", words=""),
        said("reaction", "ignored", polarity=-1, silent=True, reactions=["shown"]),
        said("rating", "rated", dimension="quality", value=4),
        said("rating", "rated low", dimension="quality", value=2),
        said("rating", "other", dimension="tone", value=5),
        said("response", "clean", spans=[], reviewed=True),
        said("response", "marked", spans=[{"sentiment": -1}], reviewed=True),
    ]
    run = run_on(tmp_path, base, rows)
    assert picked(run, liked=True) == ["loved"]
    assert picked(run, good_rating=4.0, dimension="quality") == ["rated"]
    assert picked(run, good_rating=4.0) == ["rated", "other"]
    assert picked(run, reviewed=True) == ["clean"]
    assert [one.verdict for one in votes(rows)][:3] == [1, 0, 0]


def test_an_answer_that_several_people_liked_is_learned_once(tmp_path, base):
    rows = [said("reaction", "a", polarity=1, silent=False, reactions=[])] * 3
    assert picked(run_on(tmp_path, base, rows), liked=True) == ["a"]


# --- which tokens


def test_a_sampled_answer_is_learned_in_the_tokens_it_was_sampled_as(tmp_path, base, tokenizer):
    text = "Fill the tank."
    usual = tokenizer(text, add_special_tokens=False)["input_ids"]
    letters = [tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in text]
    sampled = [token for ids in letters for token in ids] + [tokenizer.eos_token_id]
    assert sampled[:-1] != usual
    strange = [usual[0]] * 3
    rows = [
        {**said("demonstration", name), "text": text, "token_ids": ids}
        for name, ids in (("mine", sampled), ("another tokenizer's", strange), ("none", None))
    ]
    run = run_on(tmp_path, base, rows)
    made = sft.prepare(run, sft.Config(**TINY), tokenizer, "train")
    mine, other, none = [engine.answers.completion_of(row) for row in made]
    assert mine == sampled
    assert other == none
    assert tokenizer.decode(other[:-1]) == text
    assert other[-1] in engine.tokens.stop_ids(tokenizer)
    prompt = engine.scoring.prompt_ids(tokenizer, rows[0]["messages"], [], passage_tokens=0)
    assert all(engine.answers.prompt_of(row) == prompt for row in made)


def test_what_cannot_be_learned_is_counted_named_and_too_much_of_it_is_refused(tmp_path, base, tokenizer):
    cut = tokenizer("Fill the", add_special_tokens=False)["input_ids"]
    rows = [
        said("demonstration", "fine"),
        {**said("demonstration", "cut"), "text": "Fill the", "token_ids": cut},
        {**said("demonstration", "empty"), "text": " "},
        {**said("demonstration", "long"), "text": "on and on " * 200},
    ]
    run = run_on(tmp_path, base, rows)
    config = sft.Config(**{**TINY, "max_tokens": 64, "max_left_out": 0.8})
    assert [row.name for row in sft.prepare(run, config, tokenizer, "train")] == ["demonstration r-fine"]
    told = (tmp_path / "events.jsonl").read_text()
    for words in ("cut off before its end: demonstration r-cut", "an answer is empty: demonstration r-empty"):
        assert words in told
    assert "longer than 64 tokens: demonstration r-long (" in told
    with pytest.raises(RecipeError, match="3 of 4 answers"):
        sft.prepare(run, config.model_copy(update={"max_left_out": 0.5}), tokenizer, "train")


def test_nothing_to_learn_from_is_said_with_what_to_do(tmp_path, base):
    with pytest.raises(RecipeError, match="no answers that people wrote") as refusal:
        carry_out(
            tmp_path / "run",
            "sft",
            TINY,
            base_model=base,
            snapshot=with_rows(tmp_path / "rows", [{**said("demonstration", "d"), "split": "test"}]),
        )
    assert refusal.value.code == "data.empty"
    assert "rewrites, demonstrations" in refusal.value.action


# --- the whole run


def test_the_loss_falls_and_the_best_weights_on_the_dev_split_are_kept(small_run):
    losses = small_run.figures("loss")
    once = len(losses) // 2
    assert sum(losses[once:]) < sum(losses[:once])  # the same answers in both epochs
    (artifact,) = small_run.of("artifact")
    figures = artifact["metrics"]
    assert figures["dev_loss"] < figures["dev_loss_before"]
    assert figures["dev_loss"] == pytest.approx(min(small_run.figures("dev_loss")), abs=1e-6)


LOGPROBS = """
base, adapter, rows = given
policy = engine.policy.Policy.open(base, Path(adapter))
made = [engine.answers.answer_row(policy.tokenizer, "r", row["messages"], [], text=row["text"]) for row in rows]
values = engine.logprobs.completion_logprobs(policy.model, engine.packs.lay_out(made)).values
print(json.dumps(values.tolist()))
"""


def test_the_policy_can_be_read_by_a_process_of_its_own_and_says_the_same(small_run, base, judged):
    rows = [row for row in rows_of(judged) if row["kind"] == "demonstration"][:3]
    said = in_a_fresh_process(LOGPROBS, base, small_run.artifact, rows)
    policy = Policy.open(base, small_run.artifact)
    made = [engine.answers.answer_row(policy.tokenizer, "r", row["messages"], [], text=row["text"]) for row in rows]
    assert said == engine.logprobs.completion_logprobs(policy.model, engine.packs.lay_out(made)).values.tolist()


def test_new_answers_go_back_to_the_people_with_their_tokens(small_run):
    answers = [event["data"] for event in small_run.of("response")]
    assert 1 <= len(answers) <= 2
    assert all(len(one["token_ids"]) == len(one["logprobs"]) for one in answers)
    assert json.loads((small_run.artifact / "redpen.json").read_text())["kind"] == "policy"


def test_a_run_may_go_on_from_the_policy_of_another(small_run, tmp_path, base, judged):
    rows = [row for row in rows_of(judged) if row["kind"] == "demonstration"][:12]
    models = {"policy": small_run.artifact}
    config = {**TINY, "epochs": 1}
    done = carry_out(
        tmp_path / "run", "sft", config, base_model=base, snapshot=with_rows(tmp_path / "rows", rows), models=models
    )
    card = json.loads((done.artifact / "redpen.json").read_text())
    assert card["parent"] == str(small_run.artifact)
    assert "adapter_model.safetensors" in {file.name for file in done.artifact.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_answers_become_truly_better_by_what_people_wrote(tmp_path, base, world):
    """The world knows how good an answer really is; the policy only read rewrites and demonstrations."""
    folder = write_judged(tmp_path, world, 160, kinds=("rewrite", "demonstration"))
    config = {**TINY, "epochs": 3, "lr": 3e-3, "rank": 8, "evaluate_every": 10}
    before = true_quality(world, base, None)
    rises = []
    for seed in range(2):
        done = carry_out(tmp_path / f"run {seed}", "sft", config, base_model=base, snapshot=folder, seed=seed)
        rises.append(true_quality(world, base, done.artifact) - before)
        metrics = done.of("artifact")[0]["metrics"]
        log.info("seed %s: quality %.3f, rise %+.3f, %s", seed, before, rises[-1], metrics)
    assert min(rises) > 0.03
