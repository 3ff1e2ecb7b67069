"""The parts of the desk that need no DOM: caret steps, undo, the queue of writes, lanes, notes, differing words."""

import pytest

WRITE = {"method": "POST", "path": "", "body": {}, "words": "", "tries": 0}


def steps(node, text, at, direction, unit, extending, times=1):
    code = "(r => { let at = a[1]; for (let i = 0; i < a[5]; i += 1) at = r.step(at, a[2], a[3], a[4]); return at })"
    return node.ask("desk/reading.js", code + "(new m.Reading(a[0]))", text, at, direction, unit, extending, times)


def test_the_caret_goes_to_the_beginning_of_the_next_word(node):
    assert steps(node, "The 👩‍👩‍👧‍👦 left.", 0, 1, "word", False) == 4
    assert steps(node, "The 👩‍👩‍👧‍👦 left.", 0, 1, "word", False, times=2) == len("The 👩‍👩‍👧‍👦 ")


def test_the_caret_stops_at_words_and_emoji_but_not_at_punctuation(node):
    assert steps(node, "Wait ... 👍🏽, go", 0, 1, "word", False) == 9
    assert steps(node, "Wait ... 👍🏽, go", 9, 1, "word", False) == 13


def test_extending_takes_the_word_without_the_space_after_it(node):
    assert steps(node, "The year 1912", 0, 1, "word", True) == 3
    assert steps(node, "The year 1912", 0, 1, "word", True, times=2) == 8


def test_the_caret_goes_back_by_words_and_stops_at_the_beginning(node):
    assert steps(node, "The year 1912", 9, -1, "word", False) == 4
    assert steps(node, "The year 1912", 9, -1, "word", False, times=9) == 0


def test_a_sentence_is_taken_without_the_space_after_it(node):
    assert steps(node, "It rains. Stay in.", 0, 1, "sentence", True) == 9
    assert steps(node, "It rains. Stay in.", 0, 1, "sentence", False) == 10


def test_a_step_by_characters_takes_a_whole_emoji(node):
    assert steps(node, "👩‍👩‍👧‍👦!", 0, 1, "grapheme", False) == 7


@pytest.mark.parametrize(
    ("text", "at", "expected"), [("abc", 1, False), ("السلام", 1, True), ("1912 שלום", 0, True), ("abc\nسلام", 5, True)]
)
def test_arrows_turn_round_where_the_paragraph_runs_from_the_right(node, text, at, expected):
    assert node.ask("desk/reading.js", "new m.Reading(a[0]).runsLeft(a[1])", text, at) is expected


def test_undo_and_redo_go_back_and_forth_and_a_new_gesture_ends_redo(node):
    code = """(async () => {
      const log = []; const stack = new m.UndoStack();
      const gesture = (n) => ({ words: n, undo: () => { log.push("-" + n) }, redo: () => { log.push("+" + n) } });
      stack.push(gesture("a")); stack.push(gesture("b"));
      await stack.undo(); await stack.undo(); await stack.redo(); stack.push(gesture("c"));
      log.push(await stack.redo()); await stack.undo(); await stack.undo(); log.push(await stack.undo());
      return log;
    })()"""
    assert node.ask("desk/undo.js", code) == ["-b", "-a", "+a", None, "-c", "-a", None]


def test_a_gesture_that_cannot_be_undone_just_now_stays_on_the_stack(node):
    code = """(async () => {
      const stack = new m.UndoStack(); let works = false;
      stack.push({ words: "a", undo: () => { if (!works) throw new Error("no") }, redo: () => {} });
      await stack.undo().catch(() => {}); works = true;
      return (await stack.undo()).words;
    })()"""
    assert node.ask("desk/undo.js", code) == "a"


def test_a_change_joins_what_was_never_sent(node):
    create = {**WRITE, "key": "1", "type": "create", "mark": "m", "body": {"label": 1}}
    change = {**WRITE, "key": "2", "type": "change", "mark": "m", "body": {"critique": "no"}}
    assert node.ask("desk/queue.js", "m.add(a[0], a[1])", [create], change) == [
        {**create, "body": {"label": 1, "critique": "no"}}
    ]
    sent = {**create, "tries": 1}
    assert node.ask("desk/queue.js", "m.add(a[0], a[1])", [sent], change) == [sent, change]


def test_a_draft_replaces_a_draft_of_the_same_assignment(node):
    first = {**WRITE, "key": "1", "type": "draft", "path": "assignments/x/draft"}
    second = {**first, "key": "2", "body": {"words": "more"}}
    other = {**first, "key": "3", "path": "assignments/y/draft"}
    assert node.ask("desk/queue.js", "m.add(a[0], a[1])", [first, other], second) == [other, second]


def test_only_what_was_never_sent_can_be_withdrawn(node):
    submit = {**WRITE, "key": "1", "type": "submit"}
    assert node.ask("desk/queue.js", "m.withdraw(a[0], '1')", [submit]) == []
    assert node.ask("desk/queue.js", "m.withdraw(a[0], '1')", [{**submit, "tries": 1}]) is None


def test_what_builds_on_a_refused_mark_falls_with_it(node):
    create = {**WRITE, "key": "1", "type": "create", "mark": "m"}
    change = {**WRITE, "key": "2", "type": "change", "mark": "m"}
    other = {**WRITE, "key": "3", "type": "create", "mark": "n"}
    assert node.ask("desk/queue.js", "m.without(a[0], a[1])", [create, change, other], create) == [other]
    assert node.ask("desk/queue.js", "m.without(a[0], a[1])", [create, change], change) == [create]


def test_waiting_grows_and_stops_at_half_a_minute(node):
    waits = node.ask("desk/queue.js", "[1, 2, 3, 9].map((tries) => m.backOff(tries, 0.5))")
    assert waits == [1000, 2000, 4000, 30000]


def test_overlapping_marks_get_lanes_of_their_own_and_the_inner_one_lies_nearest(node):
    marks = [
        {"id": "outer", "start": 0, "end": 20},
        {"id": "inner", "start": 5, "end": 9},
        {"id": "far", "start": 30, "end": 40},
    ]
    code = "Object.fromEntries(m.lanes(a[0]))"
    assert node.ask("label/lanes.js", code, marks) == {"inner": 0, "outer": 1, "far": 0}


def test_pieces_cover_the_text_once_and_empty_marks_stand_between(node):
    marks = [{"id": "a", "start": 2, "end": 6}, {"id": "b", "start": 4, "end": 8}, {"id": "gap", "start": 6, "end": 6}]
    assert [(p["start"], p["end"], p["marks"]) for p in node.ask("label/lanes.js", "m.pieces(10, a[0])", marks)] == [
        (0, 2, []),
        (2, 4, ["a"]),
        (4, 6, ["a", "b"]),
        (6, 6, ["gap"]),
        (6, 8, ["b"]),
        (8, 10, []),
    ]


def test_an_empty_text_can_carry_a_mark_of_what_is_missing(node):
    marks = [{"id": "gap", "start": 0, "end": 0}]
    assert node.ask("label/lanes.js", "m.pieces(0, a[0])", marks) == [{"start": 0, "end": 0, "marks": ["gap"]}]


def test_notes_never_overlap_and_the_active_one_stands_at_its_words(node):
    notes = [{"id": name, "top": 100, "height": 40} for name in "abc"]
    assert node.ask("label/lanes.js", "Object.fromEntries(m.placeNotes(a[0], 'b', 10))", notes) == {
        "a": 50,
        "b": 100,
        "c": 150,
    }
    assert node.ask("label/lanes.js", "Object.fromEntries(m.placeNotes(a[0], null, 10))", notes) == {
        "a": 100,
        "b": 150,
        "c": 200,
    }


def test_notes_that_would_leave_the_page_move_down_together(node):
    notes = [{"id": name, "top": 10, "height": 40} for name in "ab"]
    assert node.ask("label/lanes.js", "Object.fromEntries(m.placeNotes(a[0], 'b', 10))", notes) == {"a": 0, "b": 50}


def test_differing_words_are_found_on_both_sides(node):
    left, right = node.ask(
        "pair/diff.js", "m.differingWords(a[0], a[1])", "It holds 3 litres now.", "It holds 30 litres."
    )
    assert [part["text"] for part in left if part["differs"]] == ["3", " now"]
    assert [part["text"] for part in right if part["differs"]] == ["30"]
    assert "".join(part["text"] for part in left) == "It holds 3 litres now."


def test_equal_texts_do_not_differ(node):
    assert (
        node.ask("pair/diff.js", "m.differingWords('same 👍🏽', 'same 👍🏽')")
        == [[{"text": "same 👍🏽", "differs": False}]] * 2
    )
