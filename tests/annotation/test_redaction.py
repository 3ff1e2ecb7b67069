"""Personal data is taken out of text at the door; ordinary text, numbers and code stay as they are."""

from __future__ import annotations

import gzip
import json
import sys
import time
import types
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import redaction
from annotation.errors import BadValue
from annotation.redaction import PATTERNS, NotAvailable, apply, check_names, luhn, redactor
from tests.shared import shared

everything = redactor(list(PATTERNS))

PERSONAL = [
    ("ines@example.org", "email"),
    ("Jörg.Müller+spam@mail.bücher.de", "email"),
    ("jane%40example.com", "email"),
    ("+49 170 1234567", "phone"),
    ("+49 (0)30 123 45 67", "phone"),
    ("+4917012345678", "phone"),
    ("0049 30 1234567", "phone"),
    ("+1 (212) 555-0187", "phone"),
    ("(212) 555-0187", "phone"),
    ("212-555-0187", "phone"),
    ("030 12345678", "phone"),
    ("0170/1234567", "phone"),
    ("06 12 34 56 78", "phone"),
    ("4111 1111 1111 1111", "card"),
    ("4111111111111111", "card"),
    ("5555-5555-5555-4444", "card"),
    ("3782 822463 10005", "card"),
    ("DE89 3704 0044 0532 0130 00", "iban"),
    ("gb82west12345698765432", "iban"),
    ("NO9386011117947", "iban"),
    ("93.184.216.34", "ip"),
    ("192.168.1.17", "ip"),
    ("2001:db8::8a2e:370:7334", "ip"),
]
ORDINARY = [
    "It was built in 1066, rebuilt in 1987-1989 and costs 1,234,567.89 euros, or 12 345 678 yen.",
    "On 2026-11-29T03:14:41.123456+01:00, and on 29.11.2026 at 12:30:45.",
    "f81d4fae-7dec-11d0-a765-00a0c91e6bf6 and 0190b5d4-0000-7000-8000-123456789012",
    "4111 1111 1111 1112 fails Luhn; 1700000000000000000 is a time in ns; 9781234567897 is an ISBN.",
    "@property\ndef at(self): return self.matrix @ other.T  # icon@2x.png lodash@4.17.21",
    "Version 1.2.3.4, section 3.2.2.10, OID 2.5.29.14, http://127.0.0.1:8000 and 255.255.255.0",
    "std::vector<int> a; x[1::2]; 00:1a:2b:3c:4d:5e; abcdef0123456789abcdef0123456789abcdef01",
    "x = +1.23456789 - 0.00012345678 + 1e-9; y = 100 200 300 4000; 0 100 200 300",
    "DE12 3456 7890 1234 5678 90 has a wrong checksum, and Boston is MA 02110-1301.",
]


@pytest.mark.parametrize(("said", "name"), PERSONAL)
def test_each_kind_of_personal_data_is_replaced_by_its_name(said, name):
    assert everything(f"Write to {said}, please. It is the 3rd time.") == (
        f"Write to [{name}], please. It is the 3rd time.",
        1,
    )
    assert redactor([name])(said) == (f"[{name}]", 1)
    assert redactor([other for other in PATTERNS if other != name])(said)[0] == said


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text):
    assert everything(text) == (text, 0)


@given(st.text())
def test_what_was_redacted_holds_nothing_more_to_redact(text):
    once, _ = everything(text)
    assert everything(once) == (once, 0)


@given(st.text(alphabet=st.characters(exclude_categories=["Nd"], exclude_characters="@"), max_size=400))
def test_text_without_digits_and_addresses_is_never_touched(text):
    assert everything(text) == (text, 0)


@given(st.one_of(st.floats().map(repr), st.uuids().map(str), st.datetimes().map(str), st.dates().map(str)))
def test_numbers_uuids_and_times_are_no_personal_data(said):
    assert everything(f"a {said} b") == (f"a {said} b", 0)


@given(st.integers(10**13, 10**14 - 1))
def test_a_card_number_is_one_only_with_its_check_digit(body):
    digits = f"4{body}"
    good = next(f"{digits}{last}" for last in range(10) if luhn(f"{digits}{last}"))
    for last in range(10):
        number = f"{digits}{last}"
        assert redactor(["card"])(number)[1] == (number == good)


def texts_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_of(inner)


@pytest.mark.skipif(not shared("data").exists(), reason="the shared data are not here")
def test_real_texts_keep_their_numbers():
    """350 questions with passages and 3,000 dialogues: what is found is what people call a number or an address."""
    texts = list(texts_of(json.loads(shared("data/qa_feedback/feedback.json").read_text("utf-8"))))
    with gzip.open(shared("data/hh_rlhf/harmless-base.jsonl.gz"), "rt", encoding="utf-8") as lines:
        texts += [text for line in lines for text in texts_of(json.loads(line))]
    found = [text for text in texts if everything(text)[1]]
    assert sum(any(word in text for word in ("hone", "mail", "ontact", "number", "read it out")) for text in found) > 10
    assert len(found) <= 20  # of 15,855; read one by one: all are telephone numbers and e-mail addresses


def test_hostile_text_takes_linear_time():
    for part in ["1", "a", "1 ", "a@", "a@a.", "1.1.", "a:", "+1-", "DE12 ", "(212) ", "%40", "0 1/"]:
        started = time.perf_counter()
        everything(part * 50_000 + "@1.1.1.1:::1")
        assert time.perf_counter() - started < 2, part


def test_metadata_is_redacted_in_all_its_depth():
    value = {"ines@example.org": [1, None, {"tel": "+49 170 1234567"}], "n": 4111111111111111}
    assert apply(value, everything) == ({"[email]": [1, None, {"tel": "[phone]"}], "n": 4111111111111111}, 2)
    two = {"a@example.org": 1, "b@example.org": 2}
    assert sorted(apply(two, everything)[0].values()) == [1, 2]


def test_a_library_is_used_where_the_operator_named_one(monkeypatch):
    fake = types.ModuleType("our_names")
    fake.hide = lambda text: text.replace("Ines", "[name]")
    monkeypatch.setitem(sys.modules, "our_names", fake)
    monkeypatch.setattr(redaction, "library", "our_names:hide")
    assert redactor(["library", "email"])("Ines, ines@example.org") == ("[name], [email]", 2)


@pytest.mark.parametrize("target", ["", "nothing_here:f", "json:nothing"])
def test_a_library_that_is_not_there_is_named(monkeypatch, target):
    monkeypatch.setattr(redaction, "library", target)
    with pytest.raises(NotAvailable, match="REDACTOR"):
        check_names(["library"])


def test_presidio_says_how_to_get_it_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    redaction.presidio.cache_clear()
    with pytest.raises(NotAvailable, match="pip install presidio-analyzer"):
        redactor(["email", "presidio"])


def test_an_unknown_pattern_is_refused_by_name():
    with pytest.raises(BadValue, match="'shoe size' is no pattern. There are: email, iban"):
        check_names(["email", "shoe size"])


def test_a_uuid_is_no_iban_even_with_its_checksum():
    for text in ("ee479694-aca9-49ff-a9ae-ddabddcde393", "at ee479694-aca9-49ff-a9ae-ddabddcde393."):
        assert everything(text) == (text, 0)


def test_a_uuid_of_digits_only_is_no_card():
    for _ in range(2000):
        text = str(uuid.uuid4())
        assert everything(text) == (text, 0)
