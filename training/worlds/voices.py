"""The words of simulated people: critiques, good words, reasons for a choice. Varied, short, as people type them."""

from .truth import GARBLED, INVENTED_FACT, MISSING_STEP, RAMBLING, RUDE_PHRASE

CRITIQUES = {
    INVENTED_FACT: (
        "That is not what the handbook says.",
        "Wrong, it should be {r}.",
        "The handbook says {r}, not {q}.",
        "made up",
        "This is invented. Please check the section again.",
        "I looked it up: {r}.",
        "A customer who believes this will be in trouble.",
        "Not true for this size.",
    ),
    "invented_claim": (
        "The product cannot do this.",
        "Nothing in the handbook says so.",
        "made up",
        "Where does this come from? Not from our handbook.",
        "We must not promise that.",
        "Invented feature, leave it out.",
    ),
    "wrong_name": ("That is not the customer's name.", "wrong name", "This is not who wrote to us."),
    RUDE_PHRASE: (
        "Rude.",
        "You do not talk to a customer like that.",
        "Sounds annoyed, there is no need for it.",
        "unfriendly",
        "This would make me angry as a customer.",
        "Condescending. Just leave it out.",
        "The tone is off here.",
    ),
    MISSING_STEP: (
        "A step is missing here.",
        "The handbook has one more step: {r}",
        "You forgot a step here.",
        "missing: {r}",
        "It will not work like this, something is left out.",
        "incomplete",
    ),
    RAMBLING: (
        "Off the point.",
        "Nobody asked for this.",
        "Nice story, but it does not help.",
        "too much talk",
        "Leave this out, the customer wants an answer.",
        "What has this to do with the question?",
        "Said already, or beside the point.",
    ),
    GARBLED: (
        "This makes no sense.",
        "Not a sentence.",
        "I do not understand what is meant.",
        "garbled",
        "Words are mixed up here.",
    ),
}

PRAISE = {
    "right_fact": (
        "Correct.",
        "That is what the handbook says.",
        "Right number, good.",
        "good fact",
        "Exactly what was asked.",
    ),
    "clear_step": ("Clear.", "Easy to follow.", "Good step.", "One can do exactly this.", "clear and short"),
    "kind_tone": ("Friendly.", "Nice tone.", "Kind opening.", "This sounds warm.", "polite"),
}

REASONS = {
    INVENTED_FACT: (
        "{other} has wrong facts.",
        "I trust {chosen} more, the facts are right.",
        "{other} makes things up.",
    ),
    RUDE_PHRASE: ("{other} is rude.", "{chosen} is friendlier.", "The tone of {other} is bad."),
    MISSING_STEP: ("{chosen} has all the steps.", "{other} leaves out a step.", "{chosen} is more complete."),
    RAMBLING: ("{chosen} gets to the point.", "{other} talks too much.", "Shorter is better here: {chosen}."),
    GARBLED: ("{other} makes no sense.", "I can read {chosen}."),
    "": ("{chosen} is a bit better.", "Just a feeling.", "{chosen} reads better.", ""),
}
TIES = ("Both are fine.", "I see no difference.", "Equally good.", "Equally bad.", "")
NEITHER = ("Both are bad.", "I would send neither.", "Neither of them helps.")

VERDICTS = (
    (0.95, ("Perfect, send it.", "Nothing to change.", "Very good answer.")),
    (0.65, ("Good, with one thing to mend.", "Nearly there.", "Fine after a small change.")),
    (0.4, ("Half of it is usable.", "Needs work.", "I would rewrite parts of this.")),
    (0.0, ("Not usable.", "Please write this again.", "This does not help the customer.")),
)
