"""Evidence: where a token stands and what its sentence shares, one row a token; phrases tile an answer's sentences."""

import pytest
import torch

from training.engine.evidence import NAMES, evidence, phrases, places_of
from training.engine.heads import TokenHead

ANSWER = "Bloom came out on 31 August 2018. Its title track, a song about desire, was released on 2 May."
MESSAGES = [{"role": "user", "content": "When did Bloom come out?"}]
CONTEXT = [{"title": "Bloom", "text": "Bloom is an album. It came out on 31 August 2018."}]


def words(text):
    found, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        found.append((at, at + len(word)))
        at += len(word)
    return found


def column(rows, name):
    return [row[NAMES.index(name)] for row in rows]


def test_a_row_of_every_name_for_every_token():
    rows = evidence(MESSAGES, CONTEXT, ANSWER, words(ANSWER))
    assert len(rows) == len(ANSWER.split())
    assert {len(row) for row in rows} == {len(NAMES)}
    assert column(rows, "sentences before") == [0.0] * 7 + [1.0] * 12
    assert column(rows, "characters before")[1] == ANSWER.index("came")
    assert column(rows, "word of the question")[0] == 1.0
    assert column(rows, "word of the passages")[-1] == 0.0


def test_what_the_passages_say_is_told_from_what_they_do_not():
    rows = evidence(MESSAGES, CONTEXT, ANSWER, words(ANSWER))
    said = column(rows, "sentence's words in the passages")
    assert said[0] == 1.0 > said[-1]
    assert set(column(evidence(MESSAGES, (), ANSWER, words(ANSWER)), "sentence's words in the passages")) == {0.0}


@pytest.mark.parametrize("text", ["", " ", "…", "Ja", "x" * 400, "a, b, c. And, and, and."])
def test_any_text_has_evidence_and_phrases(text):
    offsets = [*words(text), (len(text), len(text))]
    rows = evidence(MESSAGES, CONTEXT, text, offsets)
    assert [len(row) for row in rows] == [len(NAMES)] * len(offsets)
    assert torch.isfinite(torch.tensor(rows)).all()
    assert len(places_of(phrases(text), offsets)) == len(offsets)


def test_phrases_end_after_commas_and_before_joining_words_and_are_not_too_short():
    assert [ANSWER[start:end].strip() for start, end in phrases(ANSWER)] == [
        "Bloom came out on 31 August 2018.",
        "Its title track,",
        "a song about desire,",
        "was released on 2 May.",
    ]
    text = "Porrino was a lawyer who left the office. He, too, went."
    assert [text[start:end].strip() for start, end in phrases(text)] == [
        "Porrino was a lawyer",
        "who left the office.",
        "He, too, went.",
    ]


def test_a_head_with_phrases_and_evidence_comes_back_bit_for_bit_and_reads_each_of_them(tmp_path):
    head = TokenHead(4, ["bad", "neutral", "good"], pooled=True, phrases=True, evidence=3)
    chance = torch.Generator().manual_seed(0)
    figures = torch.randn(5, 3, generator=chance) * 10
    head.standardise(figures)
    torch.nn.init.normal_(head.linear.weight, generator=chance)
    hidden = torch.randn(5, 4, generator=chance)
    places = {"segments": torch.tensor([0, 0, 0, 1, 1]), "phrases": torch.tensor([0, 0, 1, 2, 2])}
    head.save(tmp_path / "head.safetensors")
    again = TokenHead.load(tmp_path / "head.safetensors")
    scores = head(hidden, **places, evidence=figures)
    assert torch.equal(again(hidden, **places, evidence=figures), scores)
    assert again.parts == {"token": 4, "sentence": 4, "phrase": 4, "evidence": 3}
    assert not torch.equal(head(hidden, **{**places, "phrases": places["segments"]}, evidence=figures), scores)
    assert not torch.equal(head(hidden, **places, evidence=figures + 1), scores)
    assert torch.equal(  # far beyond what was learned from counts no more than far
        head(hidden, **places, evidence=figures + 1e6), head(hidden, **places, evidence=figures + 1e9)
    )
    for lacking in ("segments", "phrases"):
        with pytest.raises(ValueError, match=lacking[:-1]):
            head(hidden, **{**places, lacking: None}, evidence=figures)
    with pytest.raises(ValueError, match="3 figures"):
        head(hidden, **places)
