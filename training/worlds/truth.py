"""The plain things that a world speaks of: prompts, answers, their defects, and what a defect costs."""

import re
from dataclasses import dataclass, field

INVENTED_FACT = "invented_fact"
RUDE_PHRASE = "rude_phrase"
MISSING_STEP = "missing_step"
RAMBLING = "rambling"
GARBLED = "garbled"  # never planted by default: it is what a weak model writes
KINDS = (INVENTED_FACT, RUDE_PHRASE, MISSING_STEP, RAMBLING, GARBLED)

# What is left of the quality after one defect of this kind and severity. A missing step costs coverage instead.
KEPT = {
    INVENTED_FACT: {1: 0.85, 2: 0.75, 3: 0.6},
    RUDE_PHRASE: {1: 0.85, 2: 0.7, 3: 0.55},
    RAMBLING: {1: 0.85, 2: 0.75, 3: 0.65},
    GARBLED: {1: 0.85, 2: 0.7, 3: 0.5},
}


def garbled_severity(words: int) -> int:
    return min(3, 1 + words // 2)


@dataclass(frozen=True, order=True)
class Defect:
    """A phrase that is wrong: `text[start:end]` in code points; empty when something is missing at `start`."""

    start: int
    end: int
    kind: str
    severity: int
    replacement: str = ""


@dataclass(frozen=True)
class Answer:
    """A support answer and the defects that were planted in it, in the order of the text."""

    text: str
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True)
class WorldPrompt:
    """A question and all that the truth about it needs. `messages` and `context` are what the database keeps."""

    id: str
    messages: tuple[dict, ...] = field(hash=False)
    context: tuple[dict, ...] = field(hash=False)
    topic: str
    product: str  # with its size: "Fernwell Mini"
    name: str  # of the customer, empty where none is given
    tongue: str
    value: str  # the right value of the topic's fact for this product
    split: str  # train, dev or test: by a hash of the question alone


def mend(text: str, defects) -> str:
    """The text with every defect replaced as proposed, and the spaces around removed phrases put right."""
    for defect in sorted(defects, reverse=True):
        text = text[: defect.start] + defect.replacement + text[defect.end :]
    text = re.sub(r" +([.,!?،])", r"\1", text)
    return re.sub(r" {2,}", " ", text).strip()
