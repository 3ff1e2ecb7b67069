"""What all toy worlds promise: prompts that are found again, fixed splits, truth and people that see only the text."""

import random
import re
from collections import Counter

import pytest

from training.worlds.people import Annotator, perfect
from training.worlds.records import KINDS, labels_of, rows
from training.worlds.registry import world

SPECS = ("words", "words:24,kinds", "words:hard,tastes", "digits", "digits:share", "cycles", "cycles:ladder")
EVERY = (*SPECS, "support:1")


@pytest.mark.parametrize("spec", EVERY)
def test_every_prompt_is_found_again_from_what_the_database_keeps(spec):
    known = world(spec)
    for prompt in known.prompts(300, seed=2):
        assert known.prompt_from([dict(m) for m in prompt.messages], [dict(c) for c in prompt.context]) == prompt
    assert known.prompt_from([{"role": "user", "content": "How tall is the Eiffel tower?"}]) is None
    assert known.prompt_from([]) is None


@pytest.mark.parametrize("spec", SPECS)
def test_no_two_prompts_are_alike_and_every_topic_is_in_every_split(spec):
    known = world(spec)
    prompts = known.prompts(10_000)
    assert len({p.messages[0]["content"] for p in prompts}) == len({p.id for p in prompts}) == len(prompts)
    for split, share in (("train", 0.8), ("dev", 0.1), ("test", 0.1)):
        some = [p for p in prompts if p.split == split]
        assert len(some) / len(prompts) == pytest.approx(share)
        assert {p.topic for p in some} == set(known.topics)
    assert {p.split for p in known.prompts(30, split="dev")} == {"dev"}
    assert {p.split for p, _ in known.corpus(60)} == {"train"}


@pytest.mark.parametrize("spec", EVERY)
def test_the_same_seed_gives_the_same_prompts_corpus_and_records(spec):
    known = world(spec)
    assert known.prompts(20, seed=4) == known.prompts(20, seed=4)
    assert list(known.corpus(20, seed=4)) == list(known.corpus(20, seed=4))
    prompts, texts = zip(*known.corpus(10, seed=4), strict=True)
    people = known.people()
    assert list(known.rows(prompts, texts, people, seed=3)) == list(known.rows(prompts, texts, people, seed=3))
    assert list(known.rows(prompts, texts, people, seed=3)) != list(known.rows(prompts, texts, people, seed=4))


@pytest.mark.parametrize("spec", EVERY)
def test_the_judge_and_the_people_see_prompt_and_text_alone(spec):
    """The same text is judged alike whatever was planted in it: by the world that planted it, and by a fresh one that
    was handed the bare text and has planted other things elsewhere.
    """
    maker, stranger = world(spec), world.__wrapped__(spec)
    list(stranger.corpus(10, seed=99))
    for prompt, text in list(maker.corpus(30, seed=6))[:20]:
        again = stranger.prompt_from([dict(m) for m in prompt.messages], [dict(c) for c in prompt.context])
        copy = "".join(list(text))
        assert stranger.true_quality(again, copy) == maker.true_quality(prompt, text)
        assert stranger.marks(again, copy) == maker.marks(prompt, text)
        for one, other in zip(maker.people().values(), stranger.people().values(), strict=True):
            assert one.mark(prompt, text, random.Random(1)) == other.mark(again, copy, random.Random(1))
            assert one.verdict(prompt, text, random.Random(1)) == other.verdict(again, copy, random.Random(1))
            assert one.tap(prompt, text, random.Random(1)) == other.tap(again, copy, random.Random(1))


def test_one_text_with_two_plantings_has_one_set_of_marks_and_another_prompt_gives_others():
    known = world("words")
    weather, music = (next(p for p in known.prompts(400) if p.topic == topic) for topic in ("weather", "music"))
    as_good = known.clean_answer(weather, random.Random(3))  # written for the weather: nothing is planted
    as_bad = known.written(music, FixedWords(as_good.text.split()), {"good": 0.0, "bad": 1.0, "filler": 0.0})
    assert as_good.text == as_bad
    assert not as_good.defects
    assert len(known.defects(music, as_bad)) == 12  # written to be off the topic of music in every word
    person = perfect(known)
    marks = [person.mark(weather, text, random.Random(0)) for text in (as_good.text, as_bad)]
    assert marks[0] == marks[1]
    assert {mark.sentiment for mark in marks[0]} == {1}
    assert {mark.sentiment for mark in person.mark(music, as_good.text, random.Random(0))} == {-1}


class FixedWords(random.Random):
    """A source of chance that draws these words, one after the other."""

    def __init__(self, words):
        super().__init__(0)
        self.words = list(words)

    def choice(self, offered):
        return self.words.pop(0) if self.words and self.words[0] in offered else super().choice(offered)


@pytest.mark.parametrize("spec", SPECS)
def test_a_perfect_persons_marks_are_the_perfect_readers(spec):
    known = world(spec)
    person = perfect(known)
    for prompt, text in known.corpus(40, seed=8):
        bare = [(m.start, m.end, m.sentiment, m.label) for m in person.mark(prompt, text, random.Random(0))]
        assert bare == [(m.start, m.end, m.sentiment, m.label) for m in known.marks(prompt, text)]


@pytest.mark.parametrize("spec", EVERY)
def test_a_clean_answer_has_no_defect_and_a_careless_one_is_worse(spec):
    known, rng = world(spec), random.Random(2)
    prompts = known.prompts(40, seed=3)
    clean = [known.true_quality(p, known.clean_answer(p, rng).text) for p in prompts]
    careless = [known.true_quality(p, text) for p, text in known.corpus(200, seed=3)]
    assert not any(known.defects(p, known.clean_answer(p, rng).text) for p in prompts)
    assert sum(clean) / len(clean) > sum(careless) / len(careless) + 0.15


def quality_seen(known, **parameters):
    """How often people prefer the better of two answers, and the marks they make."""
    rng = random.Random(5)
    person = Annotator("one", known, **parameters)
    right = total = marks = 0
    for prompt in known.prompts(80, seed=7):
        a, b = (known.answer(prompt, rng).text for _ in range(2))
        marks += sum(m.sentiment < 0 for m in person.mark(prompt, a, rng))
        gap = known.preference(prompt, a, b)
        if abs(gap) > 0.1:
            total += 1
            right += person.compare(prompt, a, b, rng).choice == ("a" if gap > 0 else "b")
    return right / total, marks


def test_noise_laziness_blindness_and_hostility_each_cost_what_they_should():
    known = world("words:kinds")
    sure, marks = quality_seen(known, skill=1.0, noise=0.0)
    assert sure > 0.85  # ties among near equals
    assert quality_seen(known, skill=1.0, noise=0.5)[0] < sure - 0.15
    assert quality_seen(known, skill=0.4, noise=0.0)[1] < 0.6 * marks
    assert quality_seen(known, skill=1.0, laziness=0.9)[1] < 0.3 * marks
    assert quality_seen(known, skill=1.0, noise=0.0, hostility=1.0)[0] < 0.15
    assert quality_seen(known, skill=1.0, noise=0.0, sees=("rude_phrase",))[1] < 0.6 * marks


def test_parameters_hold_for_all_people_and_each_is_of_one_of_three_tastes():
    people = world("words:tastes").people(noise=0.3, laziness=0.2)
    assert {(one.noise, one.laziness) for one in people.values()} == {(0.3, 0.2)}
    assert {one.taste for one in people.values()} == {0, 1, 2}
    assert {one.taste for one in world("words:tastes").people(taste=1).values()} == {1}


@pytest.mark.parametrize("spec", EVERY)
def test_people_name_what_is_wrong_in_varied_words(spec):
    known = world(spec)
    talkers = known.people(talks=1.0).values()
    said = Counter(
        mark.critique
        for prompt, text in known.corpus(60, seed=1)
        for person in talkers
        for mark in person.mark(prompt, text, random.Random(prompt.id))
    )
    assert len(said) > (3 if known.name == "cycles" else 20)
    assert not any("{" in words for words in said)


def test_a_critique_of_the_whole_quotes_what_is_wrong_and_says_it_in_many_ways():
    known = world("words")
    person = perfect(known, talks=1.0)
    found = [(p, t, *person.critique(p, t, random.Random(p.id))) for p, t in known.corpus(60, seed=2)]
    for prompt, text, value, words in found:
        quoted = re.findall("“(.*?)”", words)
        wrong = [text[d.start : d.end] for d in known.defects(prompt, text)]
        assert set(quoted) <= set(wrong)
        assert len(quoted) == min(3, len(wrong))
        assert value == pytest.approx(known.true_quality(prompt, text), abs=1e-3)
    assert len({re.sub("“.*?”", "", words) for *_, words in found}) > 50


@pytest.mark.parametrize("spec", EVERY)
def test_a_perfect_readers_marks_are_said_in_varied_words_too_and_alike_for_the_same_text(spec):
    known = world(spec)
    said = [mark.critique for prompt, text in known.corpus(60, seed=1) for mark in known.marks(prompt, text)]
    assert all(said)
    assert not any("{" in words for words in said)
    assert len(set(said)) >= (3 if known.name == "cycles" else 20)


@pytest.mark.parametrize("spec", EVERY)
def test_records_have_the_form_of_a_snapshots_rows(spec):
    known = world(spec)
    prompts = known.prompts(12, seed=1)
    rng = random.Random(1)
    texts = [[known.answer(p, rng).text for _ in range(3)] for p in prompts]
    found = list(known.rows(prompts, texts, known.people(), seed=1, kinds=KINDS))
    labels = {label["key"] for label in labels_of(getattr(known, "world", known))}
    assert {row["kind"] for row in found} >= set(KINDS) - {"rewrite"}
    for row in found:
        assert {"split", "kind", "prompt_id", "messages", "context", "records"} <= row.keys()
        assert row["split"] in ("train", "dev", "test")
        for span in row.get("spans", ()):
            assert row["text"][span["start"] : span["end"]] == span["quote"]
            assert span["label"] in labels
    records = [record for row in found for record in row["records"]]
    assert len(records) == len(set(records))
    with pytest.raises(ValueError, match="no rows of the kind song"):
        list(rows(known, prompts, texts, kinds=("song",)))


def test_a_world_or_an_option_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="no world “wrods”; there are words"):
        world("wrods")
    with pytest.raises(ValueError, match="no option “loud”"):
        world("words:loud")
    with pytest.raises(ValueError, match="no option “kinds”"):
        world("digits:kinds")
