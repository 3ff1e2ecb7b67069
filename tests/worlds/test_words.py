"""The word world: what its reader says follows from prompt and text alone, and its options are what they say."""

import random
from collections import Counter

import pytest

from training.worlds.people import perfect
from training.worlds.registry import world
from training.worlds.truth import GARBLED, RUDE_PHRASE, mend
from training.worlds.vocabularies import FILLERS, LEXICON, RUDE
from training.worlds.words import FOREIGN, MISSING, REPEATED, Words

PLAIN = world("words")
WEATHER = next(p for p in PLAIN.prompts(400) if p.topic == "weather")
OWN = "rain cloud storm wind frost sunny"


def test_no_word_of_the_world_is_two_things():
    words = [word for own in LEXICON.values() for word in own] + [*FILLERS, *RUDE, *LEXICON]
    assert len(words) == len(set(words))
    asked = {word for prompt in PLAIN.prompts(400) for word in prompt.messages[0]["content"].split()}
    assert not asked & set(PLAIN.vocabulary)


def test_the_world_of_the_card_has_4_topics_of_6_words_8_fillers_and_12_words_an_answer():
    assert len(PLAIN.topics) == 4
    assert {len(own) for own in PLAIN.lexicon.values()} == {6}
    assert len(FILLERS) == 8
    assert {len(text.split()) for _, text in PLAIN.corpus(50)} == {12}
    assert {len(text.split()) for _, text in world("words:24").corpus(50)} == {24}


def test_its_careless_writers_say_35_35_30_percent_good_bad_and_filler():
    kinds = Counter(one.kind for prompt, text in PLAIN.corpus(1000) for one in PLAIN.heard(prompt, text))
    shares = {kind: count / sum(kinds.values()) for kind, count in kinds.items()}
    assert shares == pytest.approx({"own": 0.35, FOREIGN: 0.35, "filler": 0.3}, abs=0.015)


def test_an_own_word_is_worth_1_another_topics_minus_1_and_a_filler_nothing():
    assert PLAIN.worths(WEATHER, "rain and piano storm") == [1, 0, -1, 1]
    assert PLAIN.worths(WEATHER, "Rain, stupid xyzzy.") == [1, -2, -1]


def test_quality_is_the_mean_worth_from_0_to_1_and_what_is_missing_counts_as_wrong():
    assert PLAIN.true_quality(WEATHER, f"{OWN} {OWN}") == 1
    assert PLAIN.true_quality(WEATHER, " ".join(["and"] * 12)) == 0.5
    assert PLAIN.true_quality(WEATHER, " ".join(["piano"] * 12)) == 0
    assert PLAIN.true_quality(WEATHER, "") == 0
    assert PLAIN.true_quality(WEATHER, OWN) == pytest.approx(0.5)
    assert PLAIN.true_quality(WEATHER, f"{OWN} {OWN} {OWN} {OWN}") < 1  # talking on is no way to a better answer


def test_all_or_nothing_wants_8_own_words_of_12_and_nothing_wrong():
    strict = world("words:all")
    assert strict.true_quality(WEATHER, f"{OWN} rain cloud and and and and") == 1
    assert strict.true_quality(WEATHER, f"{OWN} rain and and and and and") == 0
    assert strict.true_quality(WEATHER, f"{OWN} {OWN[:-5]}piano") == 0
    careless = [strict.true_quality(prompt, text) for prompt, text in PLAIN.corpus(5000, seed=1)]
    assert 0 < sum(careless) / len(careless) < 0.004  # the card's "about 0.2 %"


def test_coverage_pays_for_clean_segments_of_four_and_for_all_words_of_the_topic():
    covering = world("words:24,coverage")
    full = " ".join([OWN] * 4)
    assert covering.true_quality(WEATHER, full) == 1
    one_bad = full.replace("cloud", "piano", 1)
    total = 0.3 * (5 - 1) + 0.6  # five clean segments, one not; all six words are still said
    assert covering.true_quality(WEATHER, one_bad) == pytest.approx((1 + total / 2.4) / 2, abs=1e-4)
    assert covering.clean_segments(WEATHER, one_bad) == [False, True, True, True, True, True]
    assert covering.coverage(WEATHER, "rain and rain") == pytest.approx(1 / 6)


def test_segments_tile_the_words():
    text = f"{OWN} and"
    assert [text[start:end].split() for start, end in PLAIN.segments(text)] == [
        ["rain", "cloud", "storm", "wind"],
        ["frost", "sunny", "and"],
    ]


def test_kinds_of_defect_cost_differently_and_have_severities_of_their_own():
    rich = world("words:kinds")
    text = "rain rain stupid piano xyzzy " + "cloud storm wind frost sunny snow fog"
    assert rich.worths(WEATHER, text)[:5] == [1, -0.5, -2, -1, -1]
    found = {d.kind: d.severity for d in rich.defects(WEATHER, text)}
    assert found == {REPEATED: 1, RUDE_PHRASE: 3, FOREIGN: 2, GARBLED: 2}
    assert PLAIN.worths(WEATHER, "rain rain") == [1, 1]  # repetitions are only counted where they are a kind
    said = Counter(d.kind for prompt, answer in rich.corpus(300) for d in rich.defects(prompt, answer))
    assert min(said[kind] for kind in (FOREIGN, RUDE_PHRASE, REPEATED)) > 100


def test_what_is_missing_is_an_empty_mark_at_the_end_and_mending_everything_is_perfect():
    text = "rain piano and"
    (foreign, missing) = PLAIN.defects(WEATHER, text)
    assert (foreign.kind, text[foreign.start : foreign.end]) == (FOREIGN, "piano")
    assert (missing.kind, missing.start, missing.end) == (MISSING, len(text), len(text))
    assert PLAIN.true_quality(WEATHER, mend(text, [foreign, missing])) == pytest.approx((1 + 11 / 12) / 2, abs=1e-4)
    for spec in ("words", "words:kinds", "words:hard"):
        known, rng = world(spec), random.Random(1)
        for prompt, said in known.corpus(40):
            found = known.defects(prompt, said)
            better = known.true_quality(prompt, mend(said, found)) > known.true_quality(prompt, said)
            assert better == bool(found)
        assert not known.defects(prompt, known.clean_answer(prompt, rng).text)


def test_marks_praise_every_own_word_and_blame_every_wrong_one():
    text = "rain and piano"
    marks = [(m.quote, m.sentiment, m.label) for m in PLAIN.marks(WEATHER, text) if m.quote]
    assert marks == [("rain", 1, "on_topic"), ("piano", -1, FOREIGN)]


def test_people_judge_by_the_mean_also_where_the_truth_is_all_or_nothing():
    rng = random.Random(0)
    worse, better = f"{OWN} and and and and piano drum", f"{OWN} {OWN[:-5]}piano"
    for spec in ("words", "words:all", "words:coverage"):
        person = perfect(world(spec))
        assert person.compare(WEATHER, worse, better, rng).choice == "b"
        assert person.verdict(WEATHER, better, rng)[0] == pytest.approx((1 + 10 / 12) / 2, abs=1e-3)
    assert world("words:all").true_quality(WEATHER, better) == world("words:all").true_quality(WEATHER, worse) == 0


def test_tastes_of_three_groups_go_in_a_circle_among_answers_of_equal_quality():
    known = world("words:tastes")
    rng = random.Random(0)
    zero, one, two = ("rain wind " * 6).strip(), ("cloud frost " * 6).strip(), ("storm sunny " * 6).strip()
    assert {known.true_quality(WEATHER, text) for text in (zero, one, two)} == {1.0}
    for a, b in ((zero, one), (one, two), (two, zero)):
        assert known.preference(WEATHER, a, b) == pytest.approx(1 / 3)
        assert known.preference(WEATHER, b, a) == pytest.approx(-1 / 3)
        sides = [known.leaning(WEATHER, a, b, taste, rng) > 0 for taste in range(3)]
        assert sum(sides) == 2
    assert PLAIN.leaning(WEATHER, zero, one, 0, rng) == 0
    assert known.preference(WEATHER, zero, "piano " * 12) == 1  # what is plainly worse is so to everybody


def test_a_harder_world_has_more_topics_words_and_kinds():
    hard = world("words:hard")
    assert len(hard.topics) == 8
    assert {len(own) for own in hard.lexicon.values()} == {12}
    rng = random.Random(3)
    once = Words(defects=(FOREIGN, REPEATED), words=12)
    clean = once.clean_answer(WEATHER, rng).text.split()
    assert len(set(clean)) == 12  # to be perfect every word of the topic must be said, once
