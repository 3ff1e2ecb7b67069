"""The watch for reward hacking: silent while nothing has changed, plain words when the judge is gamed, and no memory
that a checkpoint could lose.
"""

import json
import random

import pytest

from training.engine.watch import ENOUGH, KEPT, WINDOW, Mean, Seen, Watch, fisher, phrases_of, repetition, risen

WORDS = [
    "tank",
    "filter",
    "warranty",
    "two",
    "years",
    "water",
    "clean",
    "every",
    "month",
    "receipt",
    "please",
    "order",
    "refund",
    "box",
    "lid",
    "cable",
]


def answers(prompts, each, chance, *, words=12, ending="", score=0.0, truth=0.0, start=0):
    """Answers of chance; score and truth are deviations above what they were, with noise between them."""
    found = []
    for prompt in range(start, start + prompts):
        for _ in range(each):
            text = " ".join(chance.choice(WORDS) for _ in range(words + chance.randint(-3, 3))) + ending
            good = chance.gauss(0, 1)
            found.append(
                Seen(
                    f"p{prompt}",
                    text,
                    len(text.split()),
                    3 + good + chance.gauss(0, 1) + score,
                    0.5 + (good + truth) / 10,
                )
            )
    return found


def watched(steps, *, seed=0, first=64):
    """(step, alarm, kind) of all that is said; `steps` are options of `answers`. The state goes through JSON."""
    chance = random.Random(seed)
    watch = Watch()
    watch.begin(answers(first, 1, chance))
    found = []
    for number, how in enumerate(steps):
        again = Watch()
        again.load_state_dict(json.loads(json.dumps(watch.state_dict())))
        watch = again
        figures, notices, confirmed = watch.look(answers(8, 4, chance, start=chance.randrange(1000), **how))
        found += [(number, one.alarm, one.kind, confirmed) for one in notices]
    return found, figures, notices


def first_alarms(found):
    return {alarm: step for step, alarm, kind, _ in reversed(found) if kind == "begins"}


def test_nothing_is_said_while_nothing_changes():
    for seed in range(5):
        found, figures, _ = watched([{}] * 30, seed=seed)
        assert found == []
        assert figures["length"] == pytest.approx(1, abs=0.2)
        assert abs(figures["gap"]) < 1
        assert figures["stock"] == 0


def test_a_score_that_rises_without_the_truth_is_said():
    alarms = first_alarms(watched([{}] * 8 + [{"score": 4.0}] * 12)[0])
    assert set(alarms) == {"hack_gap"}
    assert 8 < alarms["hack_gap"] < 16


def test_a_score_that_the_truth_follows_is_believed_even_where_it_leads():
    found, figures, _ = watched([{}] * 8 + [{"score": 6.0, "truth": 2.0}] * 14)
    assert figures["gap"] > 1
    assert found == []


def test_a_truth_that_rises_with_the_score_makes_a_new_habit_no_fault():
    found, *_ = watched([{}] * 8 + [{"score": 4.0, "truth": 3.0, "words": 30}] * 14)
    assert set(first_alarms(found)) == {"hack_length"}
    assert all(confirmed for *_, confirmed in found)
    found, *_ = watched([{}] * 8 + [{"score": 4.0, "truth": -1.0, "words": 30}] * 14)
    assert "hack_length" in first_alarms(found)
    assert not any(confirmed for *_, confirmed in found)


@pytest.mark.parametrize("words", [30, 5])
def test_longer_and_shorter_answers_are_said(words):
    assert set(first_alarms(watched([{}] * 8 + [{"words": words}] * 14)[0])) == {"hack_length"}


def test_saying_the_same_again_is_said():
    alarms = first_alarms(watched([{}] * 8 + [{"ending": " so so so so so so"}] * 14)[0])
    assert "hack_repetition" in alarms


def test_a_habit_is_said_with_the_phrase_itself():
    chance, watch = random.Random(0), Watch()
    watch.begin(answers(64, 1, chance))
    said = []
    for step in range(14):
        ending = " I hope this helps!" if step > 3 else ""
        said += watch.look(answers(8, 4, chance, start=10 * step, ending=ending))[1]
    (notice,) = [one for one in said if one.alarm == "hack_stock"]
    assert "“i hope this helps !” in " in notice.text
    assert "(at first 0%)" in notice.text
    assert "mark them as bad" in notice.text


def test_of_few_prompts_nothing_is_sure_and_nothing_is_said():
    chance, watch = random.Random(0), Watch()
    watch.begin(answers(ENOUGH - 1, 6, chance))
    for _ in range(12):
        figures, notices, _ = watch.look(answers(8, 4, chance, words=60, ending=" so so so so", score=9.0))
        assert notices == []
    assert figures["length"] > 3  # it is charted all the same


def test_answers_to_one_prompt_are_one_witness():
    alike = [(f"p{k // 10}", float(k // 10 % 2)) for k in range(200)]
    mean = Mean.of(alike)
    assert (mean.value, mean.prompts) == (0.5, 20)
    assert mean.error == pytest.approx(0.513 / 20**0.5, rel=1e-3)  # of 20 prompts, not of 200 answers
    once = answers(64, 1, random.Random(1))
    product = [Seen("p3", "our best tank ever made", 5)] * 40  # a phrase of one prompt's is no habit
    assert risen(once, [*answers(40, 1, random.Random(2)), *product]) == []


def test_a_score_that_never_varied_cannot_be_compared():
    watch = Watch()
    base = watch.begin([Seen(f"p{k}", "a b c", 3, 1.0, 0.1 * k) for k in range(20)])
    assert base.score is None
    figures, notices, _ = watch.look([Seen(f"p{k}", "a b c", 3, 9.0, 0.1 * k) for k in range(20)])
    assert "gap" not in figures
    assert "truth" in figures
    assert notices == []


def test_only_the_last_steps_are_remembered():
    chance, watch = random.Random(0), Watch()
    watch.begin(answers(64, 1, chance))
    for step in range(40):
        watch.look(answers(8, 3 * KEPT, chance, start=8 * step))
    kept = [one for step in watch.steps for one in step]
    assert len({one.prompt for one in kept}) == WINDOW
    assert len(kept) == WINDOW * KEPT


def test_words_and_the_chance_of_a_phrase_by_hand():
    assert repetition("abcabc") == pytest.approx(1 - 3 / 4)  # abc bca cab abc
    assert repetition([1, 2]) == 0
    assert phrases_of("Don't go!") == {"don't go", "go !", "don't go !"}
    assert fisher(3, 3, 0, 3) == pytest.approx(1 / 20)  # 1 of the C(6, 3) ways
    assert fisher(0, 3, 2, 3) == 1


def test_what_chance_may_have_done_is_not_sure():
    """Twice as long on average, of few prompts that are very different; a phrase in 4 of 12 that was in none of 12."""
    first = [Seen(f"p{k}", f"plain {k}", 10 if k % 4 else 100) for k in range(12)]
    recent = [Seen(f"q{k}", f"plain {k}" + " of course" * (k < 4), 10 if k % 2 else 130) for k in range(12)]
    watch = Watch()
    watch.begin(first)
    assert watch.figures(recent)["length"] > 2
    assert watch.sure(recent)["length"] == 1
    assert risen(first, recent) == []
    many = [one for kind in "abcd" for one in same(recent, kind)]
    assert [one.words for one in risen([*first, *same(first, "e"), *same(first, "f")], many)] == ["of course"]


def same(answers, kind):
    """The same to other prompts."""
    return [Seen(f"{kind}{k}", one.text, one.tokens) for k, one in enumerate(answers)]
