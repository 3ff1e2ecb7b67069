"""The widget's parts that need no browser: how large it is, and where a marked phrase stands."""

import gzip
import re

from django.contrib.staticfiles import finders
from hypothesis import given
from hypothesis import strategies as st

from redpen.env import REPOSITORY

WIDGET = REPOSITORY / "clients" / "web" / "redpen-widget.js"
LOCATE = "m.locate(a[0], a[1], a[2], a[3])"
texts = st.text(st.sampled_from("ab \n\té👩\u200d🚀ب\u0301\r"), max_size=12)


def test_the_widget_is_under_5_kb_as_it_is_shipped():
    assert len(gzip.compress(WIDGET.read_bytes(), 9)) < 5000


def test_our_server_serves_just_this_file():
    assert finders.find("client/redpen-widget.js") == str(WIDGET)


def test_the_widget_loads_nothing_and_writes_no_markup():
    code = WIDGET.read_text()
    assert not re.search(r"^\s*import\b|\bimport\(", code, re.MULTILINE)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\.style\b|eval\(|new Function", code)


@given(before=texts, quote=texts.filter(bool), after=texts)
def test_the_widget_and_the_server_count_alike(node, before, quote, after):
    text = before + quote + after
    units = len(before.encode("utf-16-le")) // 2
    unit = node.ask(str(WIDGET), LOCATE, text, text, units, quote)
    start = node.ask(str(WIDGET), "m.length(a[0].slice(0, a[1]))", text, unit)
    assert text[start : start + node.ask(str(WIDGET), "m.length(a[0])", quote)] == quote
    assert start == len(before)


def test_a_phrase_that_is_not_there_is_refused(node):
    for place in (-1, 0, 1, 99):
        assert node.ask(str(WIDGET), LOCATE, "The lamp shines.", "The lamp shines.", place, "lamp ") == -1
    assert node.ask(str(WIDGET), LOCATE, "The lamp shines.", "The lamp shines.", 4, "lamp ") == 4


def test_of_text_that_is_shown_otherwise_the_nth_of_n_phrases_is_the_nth(node):
    stored, shown = "**red**, blue and *red*", "red, blue and red"
    assert node.ask(str(WIDGET), LOCATE, stored, shown, 0, "red") == 2
    assert node.ask(str(WIDGET), LOCATE, stored, shown, 14, "red") == 19


def test_where_it_is_not_certain_nothing_is_marked(node):
    assert node.ask(str(WIDGET), LOCATE, "[red](red.html) and red", "red and red", 8, "red") == -1
    assert node.ask(str(WIDGET), LOCATE, "a **red** lamp", "a red lamp", 0, "a red") == -1
