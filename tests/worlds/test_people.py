"""Simulated annotators: they see the text only, agree more the more skilled they are, and err in ways of their own."""

import random
from dataclasses import replace

import pytest

from training.worlds.people import GOOD_LABELS, Annotator, cast
from training.worlds.support import World
from training.worlds.truth import KINDS, MISSING_STEP, RUDE_PHRASE

WORLD = World(0)
PAIRS = [(prompt, answer.text) for prompt, answer in WORLD.corpus(160, 9)]
CAST = cast(WORLD)


def marked(person, seed=0):
    """The characters that a person marks as bad, for each text."""
    rng = random.Random(f"{person.name} {seed}")
    return [{at for m in person.mark(p, text, rng) if m.sentiment < 0 for at in range(m.start, m.end + 1)}
            for p, text in PAIRS]  # fmt: skip


def agreement(one, two):
    both = sum(len(a & b) for a, b in zip(one, two, strict=True))
    either = sum(len(a | b) for a, b in zip(one, two, strict=True))
    return both / either


@pytest.mark.parametrize("person", CAST.values(), ids=CAST.keys())
def test_a_marks_quote_is_the_text_at_its_offsets(person):
    rng = random.Random(1)
    seen = 0
    for prompt, text in PAIRS:
        for mark in person.mark(prompt, text, rng):
            seen += 1
            assert 0 <= mark.start <= mark.end <= len(text)
            assert text[mark.start : mark.end] == mark.quote
            assert mark.sentiment in (-1, 1)
            assert mark.severity in (1, 2, 3)
            assert mark.label in (KINDS if mark.sentiment < 0 else GOOD_LABELS)
            assert "{" not in mark.critique
    assert seen > 50


def test_the_same_random_state_gives_the_same_marks():
    prompt, text = PAIRS[0]
    for person in CAST.values():
        assert person.mark(prompt, text, random.Random(5)) == person.mark(prompt, text, random.Random(5))
        assert person.verdict(prompt, text, random.Random(5)) == person.verdict(prompt, text, random.Random(5))


def test_two_people_agree_more_the_more_skilled_they_are():
    agreements = []
    for skill in (0.3, 0.6, 0.9, 1.0):
        one, two = (Annotator(name, WORLD, skill=skill, noise=0.1 * (1 - skill)) for name in ("one", "two"))
        agreements.append(agreement(marked(one), marked(two)))
    assert agreements == sorted(agreements)
    assert agreements[0] < 0.4
    assert agreements[-1] > 0.85


def test_a_perfect_person_marks_what_the_reader_finds():
    perfect = Annotator("perfect", WORLD, skill=1, noise=0, sloppiness=0, confusion=0, praises=0)
    for prompt, text in PAIRS:
        found = [(d.start, d.end, d.kind) for d in WORLD.defects(prompt, text)]
        assert sorted((m.start, m.end, m.label) for m in perfect.mark(prompt, text, random.Random(0))) == sorted(found)


def test_who_only_has_an_eye_for_rudeness_marks_little_else():
    labels = [m.label for p, t in PAIRS for m in CAST["Kurt"].mark(p, t, random.Random(p.id)) if m.sentiment < 0]
    assert labels.count(RUDE_PHRASE) > 0.8 * len(labels)
    assert MISSING_STEP not in labels


def test_harsh_people_give_higher_severities_and_lower_verdicts():
    mild, harsh = (Annotator("x", WORLD, harshness=h) for h in (-0.8, 0.8))

    def mean(person, what):
        values = [v for p, t in PAIRS for v in what(person, p, t)]
        return sum(values) / len(values)

    def severities(person, p, t):
        return [m.severity for m in person.mark(p, t, random.Random(p.id)) if m.sentiment < 0]

    def verdicts(person, p, t):
        return [person.verdict(p, t, random.Random(p.id))[0]]

    assert mean(harsh, severities) > mean(mild, severities) + 0.5
    assert mean(harsh, verdicts) < mean(mild, verdicts) - 0.1


def test_a_lazy_person_leaves_more_answers_without_a_mark():
    busy, lazy = (Annotator("x", WORLD, laziness=share) for share in (0.0, 0.7))
    empty = [sum(not person.mark(p, t, random.Random(p.id)) for p, t in PAIRS) for person in (busy, lazy)]
    assert empty[1] > empty[0] + 0.4 * len(PAIRS)


def choices(person, n=120):
    """For pairs of clearly different quality: how often this person takes the better one."""
    rng, right, total = random.Random(2), 0, 0
    for prompt in WORLD.prompts(n):
        a, b = (WORLD.answer(prompt, rng).text for _ in range(2))
        gap = WORLD.true_quality(prompt, a) - WORLD.true_quality(prompt, b)
        if abs(gap) > 0.1:
            total += 1
            right += person.compare(prompt, a, b, rng).choice == ("a" if gap > 0 else "b")
    return right / total


def test_skilled_people_prefer_the_better_answer_and_hostile_ones_the_worse():
    assert choices(CAST["Ines"]) > 0.9
    assert choices(CAST["Pia"]) > 0.65
    hostile = Annotator("Troll", WORLD, hostility=1.0, laziness=0.0)
    assert choices(hostile) < 0.2  # turned around, a good judge


def test_a_hostile_person_praises_what_is_wrong():
    hostile = replace(CAST["Troll"], hostility=1.0, noise=0.0, praises=0.0, skill=1.0)
    prompt, text = next((p, t) for p, t in PAIRS if RUDE_PHRASE in {d.kind for d in WORLD.defects(p, t)})
    assert {m.sentiment for m in hostile.mark(prompt, text, random.Random(0))} == {1}


def test_two_answers_alike_are_a_tie_and_two_bad_ones_neither():
    prompt = PAIRS[0][0]
    good = WORLD.clean_answer(prompt, random.Random(0)).text
    calm = replace(CAST["Ines"], noise=0.0)
    assert calm.compare(prompt, good, good, random.Random(0)).choice == "tie"
    assert calm.compare(prompt, "No idea.", "Ask the pump.", random.Random(0)).choice == "neither"


def test_verdicts_follow_the_quality():
    prompt = PAIRS[0][0]
    good = CAST["Ines"].verdict(prompt, WORLD.clean_answer(prompt, random.Random(0)).text, random.Random(0))
    bad = CAST["Ines"].verdict(prompt, "", random.Random(0))
    assert good[0] > 0.9
    assert bad[0] < 0.1
    assert good[1] != bad[1]


def test_critiques_are_varied():
    said = {m.critique for p, t in PAIRS for m in CAST["Ines"].mark(p, t, random.Random(p.id))}
    assert len(said) > 60


def test_a_skilled_persons_rewrite_is_better():
    before = after = 0.0
    for prompt, text in PAIRS[:100]:
        before += WORLD.true_quality(prompt, text)
        after += WORLD.true_quality(prompt, CAST["Ines"].rewrite(prompt, text, random.Random(prompt.id)))
    assert after > before + 30
    assert after > 90
