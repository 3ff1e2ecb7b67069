"""The judge: it finds what was planted, ranks what is better, and cannot be talked into a good score."""

import random
import re
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.worlds.support import World
from training.worlds.truth import (
    GARBLED,
    INVENTED_FACT,
    KINDS,
    MISSING_STEP,
    RAMBLING,
    RUDE_PHRASE,
    mend,
)

WORLD = World(0)
PROMPTS = WORLD.prompts(60)
NOTHING = dict.fromkeys(KINDS, 0.0)


def clean(prompt, seed=0):
    return WORLD.clean_answer(prompt, random.Random(f"{prompt.id} {seed}")).text


def mean_quality(write):
    """Mean and highest quality of what `write(prompt)` gives."""
    scores = [WORLD.true_quality(prompt, write(prompt)) for prompt in PROMPTS]
    return sum(scores) / len(scores), max(scores)


def with_rates(**rates):
    def write(prompt):
        return WORLD.answer(prompt, random.Random(prompt.id), {**NOTHING, **rates}).text

    return write


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_was_planted_is_found_and_nothing_else(seed):
    world = World(seed)
    for prompt, answer in world.corpus(500, seed, split=None, rates={GARBLED: 0.2}):
        assert world.defects(prompt, answer.text) == list(answer.defects), answer.text


def test_mending_every_defect_gives_a_clean_answer():
    for prompt, answer in WORLD.corpus(800, rates={GARBLED: 0.1}):
        assert WORLD.true_quality(prompt, mend(answer.text, answer.defects)) == 1.0, answer.text


def test_a_planted_defect_is_where_its_offsets_say():
    rude = invented = missing = 0
    for prompt, answer in WORLD.corpus(400):
        for defect in answer.defects:
            quote = answer.text[defect.start : defect.end]
            if defect.kind == MISSING_STEP:
                missing += 1
                assert quote == ""
                assert defect.replacement.strip()
            else:
                assert quote.strip() == quote != ""
            invented += defect.kind == INVENTED_FACT and quote not in (prompt.value, defect.replacement)
            rude += defect.kind == RUDE_PHRASE
    assert min(rude, invented, missing) > 50


def test_clean_is_1_and_every_kind_of_defect_costs():
    assert mean_quality(clean) == (1.0, 1.0)
    for kind in KINDS:
        mean, highest = mean_quality(with_rates(**{kind: 1.0}))
        assert 0.2 < mean < 0.85, kind
        assert highest < 1.0, kind


def test_two_defects_are_worse_than_one():
    for one in (INVENTED_FACT, RUDE_PHRASE, MISSING_STEP):
        single, _ = mean_quality(with_rates(**{one: 1.0}))
        double, _ = mean_quality(with_rates(**{one: 1.0, RAMBLING: 1.0}))
        assert double < 0.9 * single


def test_a_typical_answer_leaves_headroom():
    scores = [WORLD.true_quality(prompt, answer.text) for prompt, answer in WORLD.corpus(1000)]
    assert 0.4 < sum(scores) / len(scores) < 0.6
    assert 0.05 < sum(score == 1.0 for score in scores) / len(scores) < 0.2


def shuffled(parts, seed=0):
    parts = list(parts)
    random.Random(seed).shuffle(parts)
    return " ".join(parts)


DEGENERATE = {
    "nothing": (lambda p: "", 0.0),
    "spaces": (lambda p: " \n\t ", 0.0),
    "the question": (lambda p: p.messages[0]["content"], 0.0),
    "the handbook": (lambda p: "\n".join(passage["text"] for passage in p.context), 0.1),
    "the whole handbook": (lambda p: "\n".join(section.text for section in WORLD.handbook), 0.01),
    "a greeting": (lambda p: "Hi there,\nThank you for writing to us. Happy growing! 🌱", 0.0),
    "shuffled words": (lambda p: shuffled(clean(p).split()), 0.05),
    "one word": (lambda p: "water " * 40, 0.0),
    "punctuation": (lambda p: "!!! ... ??? ,,, ###" * 5, 0.0),
    "an answer to something else": (lambda p: clean(next(q for q in PROMPTS if q.topic != p.topic)), 0.02),
    "a tenth time the same": (lambda p: " ".join([clean(p)] * 10), 0.02),
    "every value there is": (
        lambda p: " ".join(WORLD.topics[p.topic].facts[0].format(p=p.product, v=v) for v in WORLD.topics[p.topic].pool),
        0.05,
    ),
    "all three sizes": (lambda p: " ".join(clean(WORLD._prompt(p.topic, x, 0, 16)) for x in WORLD.products), 0.2),
    "the fact alone": (lambda p: WORLD.truth(p).fact_sentence, 0.2),
    "half an answer": (lambda p: clean(p)[: len(clean(p)) // 2], 0.25),
    "zero-width characters": (lambda p: clean(p).replace(" ", "\u200b "), 0.01),
    "control characters": (lambda p: clean(p).replace(" ", " \x07"), 0.01),
    "random bytes": (lambda p: random.Random(p.id).randbytes(200).decode("latin-1"), 0.0),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_a_degenerate_text_scores_low(name):
    write, bound = DEGENERATE[name]
    assert mean_quality(write)[0] <= bound


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text + " " + text,
        str.upper,
        str.lower,
        lambda text: re.sub(r"[.,!?:]", "", text),
        lambda text: text + "🌱" * 20,
        lambda text: text + " ### @@@",
        lambda text: text + " Thanks for your message! I am happy to help with that. Enjoy your plants!",
        lambda text: re.sub(r"(\w+) (\w+)", r"\1 \1 \2", text, count=1),
        lambda text: text + " Then it the lamp of.",
        lambda text: text.replace(" ", "     "),
    ],
)
def test_a_clean_answer_that_is_spoilt_is_worth_less(spoil):
    mean, highest = mean_quality(lambda prompt: spoil(clean(prompt)))
    assert mean < 0.85
    assert highest < 1.0


def test_steps_in_the_wrong_order_cost_something():
    def reversed_steps(prompt):
        truth = WORLD.truth(prompt)
        steps = " ".join(f"{clause[0].upper()}{clause[1:]}." for clause in reversed(truth.step_clauses))
        return f"{truth.fact_sentence} {steps}"

    assert mean_quality(reversed_steps) == (pytest.approx(0.7), pytest.approx(0.7))


def test_a_wrong_number_is_invented_even_if_nobody_thought_of_it():
    prompt = next(p for p in PROMPTS if p.topic == "returns")
    text = clean(prompt).replace(prompt.value, "731 days")
    assert [d.kind for d in WORLD.defects(prompt, text)] == [INVENTED_FACT]
    assert WORLD.defects(prompt, text)[0].replacement == prompt.value


def test_your_and_the_say_the_same():
    prompt = next(p for p in PROMPTS if p.topic == "wifi")
    for text in (clean(prompt, seed) for seed in range(20)):
        swapped = re.sub(r"\byour (?=Fernwell)", "the ", re.sub(r"\bYour (?=Fernwell)", "The ", text))
        assert WORLD.true_quality(prompt, swapped) == 1.0


def test_the_wrong_size_and_the_wrong_name_are_invented():
    prompt = next(p for p in WORLD.prompts(5000) if p.product.endswith("Mini") and p.name == "Zoë")
    text = f"Hi Tom,\n{WORLD.truth(prompt).fact_sentence.replace('Mini', 'Max')}"
    found = [text[d.start : d.end] for d in WORLD.defects(prompt, text) if d.kind == INVENTED_FACT]
    assert found == ["Tom", "Fernwell Max"]


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=300))
def test_any_text_is_judged_without_error_and_its_spans_are_inside(text):
    reading = WORLD.read(PROMPTS[0], text)
    assert 0.0 <= reading.quality < 0.5
    for defect in reading.defects:
        assert 0 <= defect.start <= defect.end <= len(text)
        assert (defect.start == defect.end) == (defect.kind == MISSING_STEP)


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 10_000), noise=st.text(min_size=1, max_size=8), number=st.integers(0, 20))
def test_no_insertion_makes_a_clean_answer_better(at, noise, number):
    text = clean(PROMPTS[number])
    place = at % len(text)
    assert WORLD.true_quality(PROMPTS[number], text[:place] + noise + text[place:]) <= 1.0


def test_the_longer_the_memory_of_a_babbler_the_better_it_is_judged():
    """Texts near the true ones, by Markov chains over words of the corpus: quality grows with their memory."""
    means = []
    for memory in (1, 3, 5):
        table = defaultdict(list)
        for prompt, answer in WORLD.corpus(2000):
            words = ["<s>"] * memory + answer.text.replace("\n", " \n ").split(" ") + ["</s>"]
            for at in range(memory, len(words)):
                table[prompt.topic, prompt.product, *words[at - memory : at]].append(words[at])
        rng = random.Random(0)
        scores = []
        for prompt in WORLD.prompts(150, split="test"):
            words = ["<s>"] * memory
            while words[-1] != "</s>" and len(words) < 150:
                words.append(rng.choice(table[prompt.topic, prompt.product, *words[-memory:]]))
            text = " ".join(word for word in words if word not in ("<s>", "</s>")).replace(" \n ", "\n")
            scores.append(WORLD.true_quality(prompt, text))
        means.append(sum(scores) / len(scores))
    assert means == sorted(means)
    assert means[0] < 0.02
    assert means[-1] > 0.35
