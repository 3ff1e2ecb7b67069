"""dpo and its kin: the reference is the policy before the first step, and pairs are what people said."""

import json
import logging
import math

import pytest

from tests.recipes.conftest import carry_out
from tests.recipes.judged import rows_of, with_rows, write_judged
from tests.recipes.quality import true_quality
from training import engine
from training.engine.policy import Policy
from training.recipes import dpo
from training.recipes.comparisons import pairs_in
from training.recipes.context import Events, RecipeError, RunContext

log = logging.getLogger(__name__)

TINY = {
    "epochs": 2,
    "batch_size": 8,
    "lr": 1e-3,
    "rank": 4,
    "passage_tokens": 0,
    "new_answers": 0,
    "evaluate_every": 0,
}
ANSWERS = [{"response_id": name, "text": name} for name in "abcd"]


@pytest.fixture(scope="module")
def preferences(tmp_path_factory, judged):
    """Forty clear comparisons in all three splits."""
    rows = [row for row in rows_of(judged) if row["kind"] == "preference" and row["choice"] in "ab"][:32]
    rows = [{**row, "split": ("train", "train", "train", "dev")[n % 4]} for n, row in enumerate(rows)]
    return with_rows(tmp_path_factory.mktemp("pairs"), rows)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory, base, preferences):
    config = {**TINY, "epochs": 3, "lr": 3e-3, "new_answers": 2, "max_new_tokens": 24}
    return carry_out(tmp_path_factory.mktemp("dpo"), "dpo", config, base_model=base, snapshot=preferences)


def texts(record, **options):
    return [(pair.chosen["text"], pair.rejected["text"], pair.weight) for pair in pairs_in(record, **options)]


# --- which pairs


def test_a_ranking_is_all_its_pairs_and_weighs_as_much_as_its_answers_but_one():
    places = [1, 2, 2, 4]
    ranking = {"kind": "ranking", "answers": [{**one, "place": n} for one, n in zip(ANSWERS, places, strict=True)]}
    found = texts(ranking)
    assert [pair[:2] for pair in found] == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    assert sum(weight for _, _, weight in found) == pytest.approx(3)


def test_a_choice_beats_what_else_was_offered_and_a_rewrite_what_it_mends():
    assert texts({"kind": "choice", "answers": ANSWERS[:3], "chosen": "b"}) == [("b", "a", 1.0), ("b", "c", 1.0)]
    assert texts({"kind": "choice", "answers": ANSWERS[:3], "chosen": None}) == []
    assert texts({"kind": "rewrite", **ANSWERS[0], "better": ANSWERS[1]}) == [("b", "a", 1.0)]


def context(tmp_path, base, rows):
    folder = with_rows(tmp_path / "rows", rows)
    return RunContext(directory=tmp_path, base_model=base, events=Events(tmp_path / "events.jsonl"), snapshot=folder)


@pytest.fixture(scope="module")
def policy(base):
    return Policy.load(base, seed=0)


def test_strength_may_weigh_and_ties_teach_nothing(tmp_path, base, preferences, policy):
    rows = rows_of(preferences)[:3]
    rows = [{**row, "split": "train", "strength": n + 1} for n, row in enumerate(rows)]
    rows.append({**rows[0], "choice": "tie"})
    run = context(tmp_path, base, rows)
    units = dpo.prepare(run, dpo.Config(**{**TINY, "strength": "weight"}), policy.tokenizer, "train")
    assert [unit[0].of_row["weight"] for unit in units] == pytest.approx([1 / 3, 2 / 3, 1])
    first = rows[0]
    chosen = first[first["choice"]]["text"]
    assert policy.tokenizer.decode(engine.answers.completion_of(units[0][0])[:-1]) == chosen


def test_a_pair_whose_prompts_differ_is_refused_by_its_name(tmp_path, base, preferences, policy):
    row = {**rows_of(preferences)[0], "split": "train", "records": ["0192"]}
    row["b"] = {**row["b"], "messages": [{"role": "user", "content": "Something else?"}]}
    with pytest.raises(RecipeError, match="preference 0192 do not answer the same prompt") as refusal:
        dpo.prepare(context(tmp_path, base, [row]), dpo.Config(**TINY), policy.tokenizer, "train")
    assert refusal.value.code == "data.prompts_differ"


def test_only_ties_are_nothing_to_learn_from(tmp_path, base, preferences):
    rows = [{**row, "choice": "tie"} for row in rows_of(preferences)]
    with pytest.raises(RecipeError, match="no pairs in the train split") as refusal:
        carry_out(tmp_path / "run", "dpo", TINY, base_model=base, snapshot=with_rows(tmp_path / "rows", rows))
    assert "ties teach nothing" in refusal.value.action


# --- the reference


def test_before_the_first_step_the_loss_is_ln_2_and_every_reward_0(small_run):
    (first, *_) = [event["values"] for event in small_run.of("metrics")]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert first["rewards/chosen"] == first["rewards/rejected"] == first["rewards/margin"] == 0.0
    assert any("the loss is 0.693147" in event["text"] for event in small_run.of("log"))


def test_the_margin_grows_on_what_is_learned(small_run):
    losses, margins = small_run.figures("loss"), small_run.figures("rewards/margin")
    assert sum(losses[-3:]) < sum(losses[:3])
    assert margins[-1] > 0
    assert {"rewards/accuracy", "logps/chosen", "logps/rejected", "grad_norm"} <= {
        *small_run.of("metrics")[-1]["values"]
    }


def test_the_policy_is_kept_and_its_new_answers_go_back(small_run, base, preferences):
    (artifact,) = small_run.of("artifact")
    assert {"dev_accuracy", "dev_margin", "dev_loss"} <= {*artifact["metrics"]}
    assert 1 <= len(small_run.of("response")) <= 2
    kept = Policy.load(base, parent=small_run.artifact)
    learner = dpo.Learner(dpo.Config(**TINY), kept, 4096)
    run = small_run.context
    units = dpo.prepare(run, dpo.Config(**TINY), kept.tokenizer, "dev")
    # the reference is now the parent, so rewards are 0; the log-probs are those of the artifact
    again = learner.measure(units, "dev_")
    assert again["dev_logps_chosen"] == pytest.approx(artifact["metrics"]["dev_logps_chosen"], abs=1e-4)
    assert again["dev_margin"] == 0.0


def test_a_run_that_goes_on_has_the_frozen_parent_as_its_reference(small_run, tmp_path, base, preferences):
    models = {"policy": small_run.artifact}
    config = {**TINY, "epochs": 1}
    done = carry_out(tmp_path, "dpo", config, base_model=base, snapshot=preferences, models=models)
    first, *rest = [event["values"] for event in done.of("metrics")]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert first["logps/chosen"] != small_run.figures("logps/chosen")[0]  # not the base
    assert any(values.get("rewards/margin") for values in rest)
    assert json.loads((done.artifact / "redpen.json").read_text())["parent"] == str(small_run.artifact)


def test_a_reference_that_was_asked_once_learns_the_same(tmp_path, base, preferences):
    asked = {**TINY, "epochs": 1}
    curves = [
        carry_out(
            tmp_path / str(once), "dpo", {**asked, "precompute_reference": once}, base_model=base, snapshot=preferences
        ).figures("loss")
        for once in (False, True)
    ]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


# --- the other losses

AT_FIRST = {
    "ipo": 25.0,
    "hinge": 1.0,
    "robust": math.log(2),
    "mean": math.log(2),
    "apo_zero": 1.0,
    "kto": None,
    "orpo": None,
    "simpo": None,
}


@pytest.mark.parametrize("loss", AT_FIRST)
def test_every_loss_begins_where_it_must_and_falls(tmp_path, base, judged, loss):
    kinds = ("verdict",) if loss == "kto" else ("preference",)
    rows = [{**row, "split": "train"} for row in rows_of(judged) if row["kind"] in kinds][:16]
    config = {**TINY, "loss": loss, "lr": 3e-3}
    done = carry_out(tmp_path / "r", "dpo", config, base_model=base, snapshot=with_rows(tmp_path / "rows", rows))
    losses = done.figures("loss")
    if AT_FIRST[loss] is not None:
        assert losses[0] == pytest.approx(AT_FIRST[loss], rel=1e-6)
    once = len(losses) // 2
    assert sum(losses[once:]) < sum(losses[:once])


def test_the_chosen_answers_likelihood_may_be_learned_beside_it(policy, preferences, tmp_path, base):
    units = dpo.prepare(context(tmp_path, base, rows_of(preferences)), dpo.Config(**TINY), policy.tokenizer, "train")[
        :3
    ]
    learner = dpo.Learner(dpo.Config(**{**TINY, "sft_weight": 0.5}), policy, 4096)
    objective = learner.objective(units)
    losses = [objective(pack) for pack in engine.packs.micro_batches(units, tokens=4096)]
    apart = [objective(pack) for unit in units for pack in engine.packs.micro_batches([unit], tokens=4096)]
    whole, parts = (
        sum(x.total.item() for x in those) / sum(x.count.item() for x in those) for those in (losses, apart)
    )
    logprobs = [
        engine.logprobs.completion_logprobs(policy.model, engine.packs.lay_out([unit[0]])).values for unit in units
    ]
    nll = -sum(float(values.sum()) for values in logprobs) / sum(len(values) for values in logprobs)
    assert whole == pytest.approx(math.log(2) + 0.5 * nll, rel=1e-5)
    assert parts == pytest.approx(whole, rel=1e-5)  # whatever the micro-batches


# --- kto


def test_kto_learns_from_single_verdicts_of_both_kinds(tmp_path, base, policy):
    tap = {"kind": "reaction", "split": "train", "messages": [{"role": "user", "content": "Why?"}], "prompt_id": "p"}
    rows = [
        {**tap, "response_id": name, "text": name, "polarity": polarity, "silent": silent, "records": [name]}
        for name, polarity, silent in (("good", 1, False), ("bad", -1, False), ("ignored", -1, True))
    ]
    config = dpo.Config(**{**TINY, "loss": "kto"})
    units = dpo.prepare(context(tmp_path, base, rows), config, policy.tokenizer, "train")
    assert [unit[0].of_row["good"] for unit in units] == [1.0, 0.0, 0.0]
    assert dpo.good_weight(config, units) == 2.0  # one good answer weighs as much as the two bad ones
    with pytest.raises(RecipeError, match="All 1 judged answers are good ones"):
        dpo.need_enough(config, units[:1])


def test_ktos_zero_point_is_read_from_answers_to_other_prompts(policy, preferences, tmp_path, base):
    units = dpo.prepare(context(tmp_path, base, rows_of(preferences)), dpo.Config(**TINY), policy.tokenizer, "train")
    first, second = units[0][0], units[1][0]
    row = engine.answers.swapped(first, second)
    assert engine.answers.prompt_of(row) == engine.answers.prompt_of(first)
    assert engine.answers.completion_of(row) == engine.answers.completion_of(second)
    learner = dpo.Learner(dpo.Config(**{**TINY, "loss": "kto"}), policy, 4096)
    assert learner.zero_point([first, second]) == 0.0  # nothing has been learned yet


# --- what goes wrong


def test_chosen_answers_that_sink_are_told_of_once(tmp_path, base):
    run = context(tmp_path, base, [])
    watch = dpo.Watch(run, dpo.Config(**TINY))
    for number in range(1, 30):
        watch.look(number, {"loss": 0.5, "rewards/chosen": -0.2, "rewards/rejected": -0.9})
    said = [json.loads(line)["text"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(said) == 1
    assert "Set sft_weight to 1" in said[0]


def test_a_policy_that_is_not_its_reference_at_first_is_a_fault(tmp_path, base):
    watch = dpo.Watch(context(tmp_path, base, []), dpo.Config(**TINY))
    with pytest.raises(RecipeError, match="differ before the first step"):
        watch.look(0, {"loss": 0.69, "rewards/chosen": 1e-5, "rewards/rejected": 0.0})


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_answers_become_truly_better_by_what_people_prefer(tmp_path, base, world):
    """The world knows how good an answer really is; the policy only saw which of several somebody preferred."""
    folder = write_judged(tmp_path, world, 150, kinds=("preference", "ranking", "choice"))
    config = {**TINY, "epochs": 1, "rank": 8, "sft_weight": 1.0, "evaluate_every": 20}
    before = true_quality(world, base, None)
    rises = []
    for seed in range(2):
        done = carry_out(tmp_path / f"run {seed}", "dpo", config, base_model=base, snapshot=folder, seed=seed)
        rises.append(true_quality(world, base, done.artifact) - before)
        metrics = done.of("artifact")[0]["metrics"]
        log.info("seed %s: quality %.3f, rise %+.3f, %s", seed, before, rises[-1], metrics)
        assert metrics["dev_accuracy"] > 0.6
    assert min(rises) > 0


def test_a_copy_of_the_first_model_may_round_otherwise_and_an_adapter_switched_off_may_not(tmp_path, base):
    figures = {"loss": 0.693147, "rewards/chosen": 1e-7, "rewards/rejected": 0.0}
    dpo.Watch(context(tmp_path, base, []), dpo.Config(**TINY, trained="all")).look(0, figures)
    for options, apart in (({}, 1e-7), ({"trained": "all"}, 0.01)):
        watch = dpo.Watch(context(tmp_path, base, []), dpo.Config(**TINY, **options))
        with pytest.raises(RecipeError, match="differ before the first step"):
            watch.look(0, {**figures, "rewards/chosen": apart})
