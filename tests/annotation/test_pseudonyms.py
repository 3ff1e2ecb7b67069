"""Names of a product's users: what is kept of them, and which are no names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.errors import BadValue
from annotation.pseudonyms import check_user, is_pseudonym, pseudonym


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_pseudonym_is_the_same_for_the_same_name_and_stays_one(secret, user):
    hidden = pseudonym(secret, user)
    assert is_pseudonym(hidden)
    assert pseudonym(secret, user) == hidden == pseudonym(secret, hidden)
    assert check_user(hidden) == hidden
    assert pseudonym(secret + "x", user) != hidden or is_pseudonym(user)


def test_the_hash_is_the_one_that_we_promise():
    # echo -n ines | openssl dgst -sha256 -hmac secret
    assert pseudonym("secret", "ines") == "u_80ce4ff8fd7734307ec5b8cf1439c7d1"
    assert pseudonym("secret", "") == ""


@pytest.mark.parametrize("user", ["null", "undefined", "None", "[object Object]", "anonymous", " NaN ", "0", "", "  "])
def test_what_programs_send_for_nobody_is_refused(user):
    with pytest.raises(BadValue) as refused:
        check_user(user)
    assert refused.value.code == "user.nobody"
    assert "leave" in refused.value.message.lower()
    assert refused.value.problems[0]["pointer"] == "/user"


@pytest.mark.parametrize("user", ["x" * 201, "a\nb", "a\0b", "\ud800"])
def test_what_cannot_be_kept_is_refused(user):
    with pytest.raises(BadValue):
        check_user(user)


@pytest.mark.parametrize("user", ["ines", "42", "00", "Anonymouse", "нина", "auth0|5f7c", "null-island"])
def test_names_are_names(user):
    assert check_user(user) == user


def test_a_name_with_joined_emoji_or_direction_marks_is_a_name():
    for name in ("ünï-👩‍🚀", "\u200fمستخدم\u200e", "می‌خواهم"):
        assert check_user(name) == name


def test_a_control_character_is_refused_with_its_place():
    for name in ("ada\n", "a\0b", "a\u2028b"):
        with pytest.raises(BadValue, match=r"Character \d of the user's id"):
            check_user(name)
