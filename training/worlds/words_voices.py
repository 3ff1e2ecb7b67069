"""How simulated people speak of the word world: short and in many ways, as people type."""

from . import voices
from .manners import Manners
from .truth import GARBLED, RUDE_PHRASE

FOREIGN, REPEATED, MISSING = "foreign_word", "repeated", "missing_words"

MANNERS = Manners(
    kinds=(FOREIGN, RUDE_PHRASE, REPEATED, GARBLED, MISSING),
    praised={"own": "on_topic"},
    mistaken={
        FOREIGN: (GARBLED, REPEATED),
        RUDE_PHRASE: (FOREIGN,),
        REPEATED: (FOREIGN,),
        GARBLED: (FOREIGN,),
        MISSING: (REPEATED,),
    },
    critiques={
        FOREIGN: (
            "{q} has nothing to do with it.",
            "Off the topic.",
            "Wrong topic, say {r} instead.",
            "{q} belongs somewhere else.",
            "not asked for",
            "Why {q}? I asked for something else.",
            "{r} would fit here.",
            "Does not belong here.",
        ),
        RUDE_PHRASE: (
            "Rude.",
            "{q} is no way to talk.",
            "Leave {q} out.",
            "unfriendly",
            "Nobody wants to read {q}.",
        ),
        REPEATED: (
            "Said already.",
            "{q} again?",
            "You repeat yourself, try {r}.",
            "twice the same",
        ),
        GARBLED: ("{q} is no word.", "This makes no sense.", "garbled", "What is {q}?"),
        MISSING: ("Too short.", "There should be more here.", "You stop too early.", "missing: {r}", "incomplete"),
    },
    praise={"on_topic": ("Good.", "Fits.", "Right topic.", "That is what I asked for.", "yes", "A good word.")},
    reasons={
        FOREIGN: ("{other} is off the topic.", "{chosen} stays with the topic.", "{other} talks of other things."),
        RUDE_PHRASE: ("{other} is rude.", "{chosen} is friendlier."),
        REPEATED: ("{other} repeats itself.", "{chosen} says more."),
        GARBLED: ("{other} makes no sense.", "I can read {chosen}."),
        MISSING: ("{other} is too short.", "{chosen} is complete."),
        "": ("{chosen} is a bit better.", "Just a feeling.", "{chosen} reads better.", ""),
    },
    ties=voices.TIES,
    neither=voices.NEITHER,
    verdicts=voices.VERDICTS,
    wordless=(MISSING,),
)
