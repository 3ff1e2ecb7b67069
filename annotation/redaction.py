"""Personal data taken out of text at the door: patterns built in, a library as an option. Pure Python, no Django.

    redact = redactor(["email", "card"])
    redact("Write to ines@example.org")  # ("Write to [email]", 1)

Patterns rather miss a thing than break ordinary text: numbers that carry a checksum must pass it, telephone numbers
must be written as such. Names of people and addresses are beyond patterns: that takes a library (`presidio`, or what
the setting REDACTOR names).
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from annotation.errors import BadValue
from redpen.accounts.errors import RedpenError

Redact = Callable[[str], tuple[str, int]]
Span = tuple[int, int]


class NotAvailable(RedpenError):
    """The project wants a library to redact, and it is not there: nothing may be stored unredacted."""

    code, status, title, retry_after = "redaction.not_available", 503, "Personal data cannot be taken out", 60


@dataclass(frozen=True)
class Pattern:
    """One kind of personal data. `possible` is a cheap test that most texts fail; `find` gives places in order."""

    name: str
    about: str
    possible: Callable[[str], bool]
    find: Callable[[str], Iterator[Span]]

    @property
    def placeholder(self) -> str:
        return f"[{self.name}]"

    def redact(self, text: str) -> tuple[str, int]:
        parts, end, count = [], 0, 0
        for start, stop in self.find(text):
            parts += [text[end:start], self.placeholder]
            end, count = stop, count + 1
        return ("".join([*parts, text[end:]]), count) if count else (text, 0)


def only(regex: str, check: Callable[[str], bool] = lambda found: True) -> Callable[[str], Iterator[Span]]:
    """What matches and passes the check. Possessive quantifiers keep all of these linear in the text's length."""
    compiled = re.compile(regex, re.VERBOSE)

    def find(text: str) -> Iterator[Span]:
        for match in compiled.finditer(text):
            if check(match.group()):
                yield match.span()

    return find


# ---- e-mail ----

# icon@2x.png, lodash@4.17.tgz: a file's ending is no top level domain
FILES = {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "json", "html", "tgz", "gz", "zip", "whl"}
MAIL = r"(?<![\w.+-]) [\w+] [\w.+-]*+ (?:@|%40) (?:[^\W_] (?:[\w-]{0,62}+) \.)+ [^\W\d_]{2,24} (?![\w@-])"


def is_mail(found: str) -> bool:
    return found.rpartition(".")[2].lower() not in FILES


# ---- numbers with a checksum ----


def luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


CARD = r"""(?<![\w.,+-]) (?:
    \d{4} (?P<by>[ -]) \d{4} (?P=by) \d{4} (?P=by) (?: \d{4} (?P=by) \d{3} | \d{4} | \d )  # as printed: fours
    | \d{4} (?P<by2>[ -]) \d{6} (?P=by2) \d{4,5}  # American Express, Diners Club
    | \d{14,16}
    ) (?! [\w-] | [.,]\d )"""


def is_card(found: str) -> bool:
    digits = "".join(one for one in found if one.isdigit())
    return issued(digits) and luhn(digits)


def issued(digits: str) -> bool:
    """Whether some issuer of cards begins its numbers so, at this length. Most random numbers do not."""
    size, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return size in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720 or 3528 <= four <= 3589 or four == 6011 or 644 <= three <= 659:
        return size == 16
    if two in (34, 37):
        return size == 15
    if two in (36, 38, 39) or 300 <= three <= 305:
        return size == 14
    return two == 62 and size in (16, 19)


IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ -]?[A-Za-z0-9]{4})")
UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# the registry's lengths by country
IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        33: "LC RU",
    }.items()
    for country in countries.split()
}


def find_ibans(text: str) -> Iterator[Span]:
    """The country says how long it is, so that words behind it are not taken for a part of it."""
    behind = 0
    for match in IBAN_START.finditer(text):
        start = match.start()
        length = IBAN_LENGTHS.get(text[start : start + 2].upper())
        if start < behind or length is None:
            continue
        at, found = start, ""
        while at < len(text) and len(found) < length:
            if text[at].isascii() and text[at].isalnum():
                found += text[at]
            elif text[at] not in " -" or text[at - 1] in " -":
                break
            at += 1
        if len(found) == length and not text[at : at + 1].isalnum() and is_iban(found) and not in_uuid(text, start):
            behind = at
            yield start, at


def in_uuid(text: str, place: int) -> bool:
    """One in a hundred UUIDs that begin like an IBAN has its checksum too."""
    around = text[max(0, place - 36) : place + 36]
    here = min(place, 36)
    return any(match.start() <= here < match.end() for match in UUID.finditer(around))


def is_iban(found: str) -> bool:
    turned = found[4:] + found[:4]
    return int("".join(str(int(one, 36)) for one in turned)) % 97 == 1


# ---- telephone ----

PHONE = r"""(?<! [\w.,+-] ) (?<! \d[ :] ) (?:
    \+ [1-9] (?: [ .()/-]{0,2} \d ){7,14}  # with the country: +49 (0)30 1234567
    | (?<! [=/] ) (?: 00 [1-9] (?: [ ()/-]{0,2} \d ){8,13}
    | (?: 1[ .-] )? \( [2-9]\d{2} \) [ ]? [2-9]\d{2} [ .-] \d{4}  # North America: (212) 555-0187, 212-555-0187
    | (?: 1[.-] )? [2-9]\d{2} ([.-]) [2-9]\d{2} \1 \d{4}
    | \( 0 [1-9] \d{1,4} \) [ ]? \d{3,4} (?: [ -]? \d{2,5} ){1,2}  # Europe: (030) 123 4567, 06 12 34 56 78
    | 0 [1-9] (?: ([ .-]) \d{2} ) (?: \2 \d{2} ){3}
    | 0 [1-9] \d{1,3} [ /-]{1,3} \d{3,8} (?: [ -] \d{2,5} ){0,3} )
    ) (?! [\w@] | [.,:/-]\d | [ ]\d )"""


def is_phone(found: str) -> bool:
    digits = sum(one.isdigit() for one in found)
    if found[0] == "+":
        apart = found[1:].strip()
        if apart.isdigit():
            return 10 <= digits <= 15
        return 8 <= digits <= 15 and not re.fullmatch(r"\d+\.\d+", apart)  # +1.23456789 is a number
    if re.fullmatch(r"0\d{4}-\d{4}", found):  # a ZIP code of New England
        return False
    return digits >= 9 if found.startswith(("0", "(0")) else digits >= 10


# ---- addresses in networks ----

ADDRESS = r"""
    (?<! [\w.:-] ) (?: \d{1,3} \. ){3} \d{1,3} (?! [\w-] | \.\d )
    | (?<! [\w.:] ) (?: [0-9A-Fa-f]{0,4} : ){2,7} [0-9A-Fa-f]{0,4} (?! [\w:] )"""


def is_address(found: str) -> bool:
    """An address of some machine: not 1.2.3.4, which is a version or a section; no loopback, netmask or name."""
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    if address.version == 4:
        octets = found.split(".")
        named = found.startswith(("1.2.", "1.3.", "2.5.", "2.16."))  # object identifiers of standards
        section = len(octets[0]) == 1 and len(found) < 10  # 3.2.2.10
        return max(map(len, octets)) > 1 and octets[0] not in ("0", "255") and not (named or section)
    return sum(bool(group) for group in found.split(":")) >= 3


def has_at(text: str) -> bool:
    return "@" in text or "%40" in text


DIGITS = b"0123456789"


def has_digit(text: str) -> bool:
    plain = text.encode("utf-8", "surrogatepass")
    if len(plain.translate(None, DIGITS)) != len(plain):  # twenty times as fast as a regex
        return True
    return len(plain) != len(text) and re.search(r"\d", text) is not None  # digits of other scripts


def has_address(text: str) -> bool:
    return (text.count(".") >= 3 or text.count(":") >= 3) and has_digit(text)


# every number of a card, account or telephone has one of these
HAS_NUMBER = re.compile(r"\d\d(?:\d|[ .]\d\d[ .]\d\d)").search


def has_number(text: str) -> bool:
    return has_digit(text) and HAS_NUMBER(text) is not None


# in the order in which they are applied: a telephone number must not be found inside an account number
PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern
    for pattern in (
        Pattern("email", "e-mail addresses", has_at, only(MAIL, is_mail)),
        Pattern("iban", "bank account numbers (IBAN, checksum checked)", has_number, find_ibans),
        Pattern("card", "numbers of payment cards (issuer and checksum checked)", has_number, only(CARD, is_card)),
        Pattern("ip", "IP addresses, versions 4 and 6", has_address, only(ADDRESS, is_address)),
        Pattern("phone", "telephone numbers, where written as such", has_number, only(PHONE, is_phone)),
    )
}
LIBRARIES = {
    "presidio": "what Microsoft Presidio finds (names, places, ...); the package presidio-analyzer must be installed",
    "library": "what the function finds that the server's setting REDACTOR names",
}
NAMES: dict[str, str] = {name: pattern.about for name, pattern in PATTERNS.items()} | LIBRARIES

library = ""  # "module:function", from the setting REDACTOR: the operator's choice, never a project's


def check_names(names: Sequence[str], pointer: str = "/redact") -> None:
    """Raise BadValue for a name that is none of NAMES, NotAvailable for a library that is not here."""
    for index, name in enumerate(names):
        if name not in NAMES:
            said = f"'{name}' is no pattern. There are: {', '.join(NAMES)}."
            raise BadValue(f"{pointer}/{index}", said, code="redaction.unknown")
    redactor(names)


def redactor(names: Sequence[str]) -> Redact:
    """A function that gives the text without what `names` name, and how many places it replaced."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"No pattern is called {', '.join(unknown)}. There are: {', '.join(NAMES)}.")
    patterns = [pattern for name, pattern in PATTERNS.items() if name in names]
    tests = list(dict.fromkeys(pattern.possible for pattern in patterns))
    steps: list[Redact] = []
    if "presidio" in names:
        steps.append(presidio())
    if "library" in names:
        steps.append(function(library))

    def redact(text: str) -> tuple[str, int]:
        count = 0
        possible = {test for test in tests if test(text)}
        for pattern in patterns:
            if pattern.possible in possible:
                text, found = pattern.redact(text)
                count += found
        for step in steps:
            text, found = step(text)
            count += found
        return text, count

    return redact


def apply(value: Any, redact: Redact) -> tuple[Any, int]:
    """A JSON value with all its strings redacted, keys too, and how many places were replaced."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        count, kept = 0, {}
        for key, inner in value.items():
            name, in_key = redact(key) if isinstance(key, str) else (key, 0)
            if in_key and name in kept:
                name = f"{name} {len(kept)}"  # two keys that became one would lose a value
            kept[name], inside = apply(inner, redact)
            count += in_key + inside
        return kept, count
    if isinstance(value, list | tuple):
        pairs = [apply(inner, redact) for inner in value]
        return [inner for inner, _ in pairs], sum(found for _, found in pairs)
    return value, 0


# ---- libraries ----


@lru_cache(maxsize=4)
def function(target: str) -> Redact:
    """The function that "module:function" names; it gives the text, or the text and a count."""
    module, _, name = target.partition(":")
    if not (module and name):
        raise NotAvailable("This project wants a library to redact. Set REDACTOR=module:function and start again.")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NotAvailable(f"REDACTOR={target} cannot be used: {error}. Install it, or change the setting.") from error

    def redact(text: str) -> tuple[str, int]:
        said = found(text)
        return said if isinstance(said, tuple) else (said, int(said != text))

    return redact


@lru_cache(maxsize=1)
def presidio() -> Redact:
    """Microsoft Presidio with its own recognisers, in English; loaded once a process, which takes seconds."""
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError as error:
        raise NotAvailable(
            "This project wants Presidio to redact, and it is not installed. Run `pip install presidio-analyzer` "
            "(and its language model), or take 'presidio' out of the project's settings."
        ) from error
    engine = AnalyzerEngine()

    def redact(text: str) -> tuple[str, int]:
        parts, end, count = [], 0, 0
        for found in sorted(engine.analyze(text=text, language="en"), key=lambda one: (one.start, -one.end)):
            if found.start >= end:
                parts += [text[end : found.start], f"[{found.entity_type.lower()}]"]
                end, count = found.end, count + 1
        return "".join([*parts, text[end:]]), count

    return redact
