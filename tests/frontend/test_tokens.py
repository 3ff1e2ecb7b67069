"""The contrasts that css/tokens.css writes beside its colours are the real ones, by day and by night, and enough."""

import re
from pathlib import Path

import pytest

TOKENS = (Path(__file__).resolve().parents[2] / "frontend" / "static" / "css" / "tokens.css").read_text("utf-8")
DAY, NIGHT = TOKENS.split("@media (prefers-color-scheme: dark)")
NOTED = re.compile(r"--(?P<name>[a-z-]+): (?P<colour>#[0-9a-f]{6});\s*/\*.*?(?P<paper>\d+\.\d) / (?P<desk>\d+\.\d) \*/")
EDGES = {"edge"}  # borders and icons need 3, text 4.5
CASES = [(times, match) for times, css in (("day", DAY), ("night", NIGHT)) for match in NOTED.finditer(css)]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colour(times: str, name: str) -> str:
    return re.search(rf"--{name}: (#[0-9a-f]{{6}})", DAY if times == "day" else NIGHT)[1]


@pytest.mark.parametrize(("times", "token"), CASES, ids=[f"{times}-{match['name']}" for times, match in CASES])
def test_a_colour_has_the_contrast_that_is_written_beside_it(times, token):
    for background in ("paper", "desk"):
        measured = contrast(token["colour"], colour(times, background))
        assert abs(measured - float(token[background])) <= 0.1
        assert measured >= (3 if token["name"] in EDGES else 4.5)


@pytest.mark.parametrize("times", ["day", "night"])
@pytest.mark.parametrize("name", ["bad", "good", "neutral", "warn"])
def test_words_on_their_wash_can_be_read(times, name):
    assert contrast(colour(times, name), colour(times, f"{name}-wash")) >= 4.5
    assert contrast(colour(times, "ink"), colour(times, f"{name}-wash")) >= 7


def test_day_and_night_name_the_same_colours():
    assert {match["name"] for match in NOTED.finditer(DAY)} == {match["name"] for match in NOTED.finditer(NIGHT)}
    assert len(CASES) > 15
