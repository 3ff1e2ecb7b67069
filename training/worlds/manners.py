"""How people speak of a world: its kinds of defect and praise, which are taken for which, and the words for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from . import voices
from .truth import GARBLED, INVENTED_FACT, KINDS, MISSING_STEP, RAMBLING, RUDE_PHRASE, Defect

Words = tuple[str, ...]


def same_kind(defect: Defect) -> str:
    """The sentences of a defect are those of its kind."""
    return defect.kind


def same_words(replacement: str) -> str:
    """A proposal is said as it would be written."""
    return replacement.strip()


@dataclass(frozen=True)
class Manners:
    """What `people.Annotator` needs to know of a world besides its reader.

    `praised` says which recognised pieces may be praised and under what label; `mistaken` which label a careless
    person takes for a kind. Sentences may hold {r} (what should stand there), {q} (the quote) and, in reasons,
    {chosen} and {other} (A or B).
    """

    kinds: Words
    praised: Mapping[str, str]
    mistaken: Mapping[str, Words]
    critiques: Mapping[str, Words]
    praise: Mapping[str, Words]
    reasons: Mapping[str, Words]  # by the worst kind that the other answer shows; "": nothing to point at
    ties: Words
    neither: Words
    verdicts: tuple[tuple[float, Words], ...]  # from the best down: the least quality, and what is said
    wordless: Words = ()  # kinds that are the lack of something: nobody marks words as that
    sentences_of: Callable[[Defect], str] = field(default=same_kind)  # which of `critiques`
    said_as: Callable[[str], str] = field(default=same_words)  # a replacement, as it is said in a critique

    @property
    def good_labels(self) -> Words:
        """Labels of praise, each once."""
        return tuple(dict.fromkeys(self.praised.values()))


def _support_sentences(defect: Defect) -> str:
    if defect.kind == INVENTED_FACT and defect.severity != 2:
        return "invented_claim" if defect.severity == 3 else "wrong_name"
    return defect.kind


def _without_links(replacement: str) -> str:
    said = replacement.strip()
    for link in ("Before anything else", "After that", "As the last step"):
        said = said.removeprefix(f"{link}, ")
    return said


SUPPORT = Manners(
    kinds=KINDS,
    praised={
        "fact": "right_fact",
        "step": "clear_step",
        "greeting": "kind_tone",
        "opening": "kind_tone",
        "closing": "kind_tone",
    },
    mistaken={
        INVENTED_FACT: (GARBLED, RAMBLING),
        RUDE_PHRASE: (RAMBLING,),
        MISSING_STEP: (INVENTED_FACT,),
        RAMBLING: (INVENTED_FACT, GARBLED),
        GARBLED: (RAMBLING, INVENTED_FACT),
    },
    critiques=voices.CRITIQUES,
    praise=voices.PRAISE,
    reasons=voices.REASONS,
    ties=voices.TIES,
    neither=voices.NEITHER,
    verdicts=voices.VERDICTS,
    wordless=(MISSING_STEP,),
    sentences_of=_support_sentences,
    said_as=_without_links,
)
