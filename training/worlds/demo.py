"""The demo project as plain data: what customers asked, what two models answered, and what people said about it.

Nothing here knows the database: a management command stores it. Keys ("p12", "r34") tie the parts together; times are
minutes before now. The same seed gives the same demo everywhere. The first answers that are left for the newcomer are
chosen to show what the product is for: several defects, an Arabic or Hebrew name and an emoji among the words.
"""

import random
from dataclasses import dataclass

from .people import Annotator, Choice, Mark, cast
from .support import World
from .truth import GARBLED, INVENTED_FACT, MISSING_STEP, RAMBLING, RUDE_PHRASE, WorldPrompt


@dataclass(frozen=True)
class DemoLabel:
    key: str
    name: str
    sentiment: int
    colour: str
    shortcut: str  # the digit that sets it
    description: str


@dataclass(frozen=True)
class DemoReactionKind:
    key: str
    name: str
    polarity: int


@dataclass(frozen=True)
class DemoPrompt:
    key: str
    messages: tuple[dict, ...]
    context: tuple[dict, ...]
    metadata: dict


@dataclass(frozen=True)
class DemoResponse:
    key: str
    prompt: str
    model: str
    text: str
    minutes_ago: int


@dataclass(frozen=True)
class DemoReview:
    """One person looked at one answer: their marks (perhaps none), a verdict from 0 to 1, words on the whole."""

    response: str
    annotator: str
    marks: tuple[Mark, ...]
    verdict: float
    words: str
    minutes_ago: int


@dataclass(frozen=True)
class DemoPreference:
    prompt: str
    a: str
    b: str
    annotator: str
    choice: Choice
    minutes_ago: int


@dataclass(frozen=True)
class DemoRewrite:
    response: str
    annotator: str
    text: str
    minutes_ago: int


@dataclass(frozen=True)
class DemoReaction:
    response: str
    kind: str  # "shown" or the key of a DemoReactionKind
    user: str  # a pseudonym
    minutes_ago: int


@dataclass(frozen=True)
class DemoContent:
    """All of it, in the order in which it should be stored."""

    project: str
    guidelines: str
    labels: tuple[DemoLabel, ...]
    reaction_kinds: tuple[DemoReactionKind, ...]
    annotators: tuple[str, ...]
    prompts: tuple[DemoPrompt, ...]
    responses: tuple[DemoResponse, ...]
    reviews: tuple[DemoReview, ...]
    preferences: tuple[DemoPreference, ...]
    rewrites: tuple[DemoRewrite, ...]
    reactions: tuple[DemoReaction, ...]
    to_label: tuple[str, ...]  # responses that nobody has looked at, the best to begin with first
    to_compare: tuple[tuple[str, str], ...]  # pairs of responses to one prompt that nobody has judged


LABELS = (
    DemoLabel(INVENTED_FACT, "Invented fact", -1, "red", "1", "The handbook does not say so."),
    DemoLabel(RUDE_PHRASE, "Rude", -1, "orange", "2", "A customer would feel talked down to."),
    DemoLabel(MISSING_STEP, "Step missing", -1, "violet", "3", "Set the cursor where it should stand."),
    DemoLabel(RAMBLING, "Rambling", -1, "brown", "4", "Beside the point, or said twice."),
    DemoLabel(GARBLED, "Garbled", -1, "slate", "5", "Makes no sense as a sentence."),
    DemoLabel("right_fact", "Right fact", 1, "green", "6", "Just what the handbook says."),
    DemoLabel("clear_step", "Clear step", 1, "teal", "7", "Easy to follow and complete."),
    DemoLabel("kind_tone", "Kind tone", 1, "blue", "8", "Warm without being long."),
)
REACTION_KINDS = (
    DemoReactionKind("love", "Love", 1),
    DemoReactionKind("like", "Like", 1),
    DemoReactionKind("copy", "Copied", 1),
    DemoReactionKind("dislike", "Dislike", -1),
    DemoReactionKind("regenerate", "Asked again", -1),
)
GUIDELINES = (
    "You read what our support model wrote to a customer. The handbook section is beside it. Mark every phrase that is "
    "wrong or unkind, and say why in a few words when it helps. Where a step is missing, put the cursor there, press "
    "its key. Mark phrases that you like as well. An answer without a mark counts as read and found good."
)

# Two models wrote the answers: the old one is worse in every way, and makes less sense.
MODELS = {
    "fern-writer-1": {INVENTED_FACT: 0.6, RUDE_PHRASE: 0.5, MISSING_STEP: 0.5, RAMBLING: 0.45, GARBLED: 0.1},
    "fern-writer-2": {INVENTED_FACT: 0.4, RUDE_PHRASE: 0.35, MISSING_STEP: 0.35, RAMBLING: 0.3, GARBLED: 0.02},
}
STAFF = {"Ines": 5, "Bao": 4, "Olu": 4, "Pia": 2}  # who labels, and what share of the work
DAY = 24 * 60
PREPARED = "marked-phrases"  # the span reward model that is trained from the demo's own marks
PREPARED_BASE = "tiny"  # reads the demo's language; a minute to make, once, and seconds to learn on
# options of text2grad that suit this base; chosen on seeds 101 to 103, measured on 1 to 5 (docs/training.md)
STORY = {
    "steps": "25",
    "prompts": "16",
    "samples": "2",
    "max_new_tokens": "100",
    "passage_tokens": "0",
    "score": "soft",
    "gamma": "0",
    "lr": "0.001",
    "rank": "8",
    "held_out": "80",
    "watch_answers": "32",
    "new_answers": "4",
}


def demo_content(
    seed: int = 0,
    *,
    prompts: int = 160,
    labelled: int = 240,
    twice: int = 60,
    compared: int = 60,
    unanswered: int = 600,
) -> DemoContent:
    """The demo: `prompts` questions with two answers each and `unanswered` ones more for a policy to practise on.

    Of the answers `labelled` were looked at, `twice` of these by two people; `compared` pairs were judged.
    """
    world, rng = World(seed), random.Random(f"demo {seed}")
    people = cast(world)
    asked = world.prompts(prompts + unanswered, rng)
    by_key = {f"p{number}": prompt for number, prompt in enumerate(asked)}
    stored = tuple(
        DemoPrompt(
            key, prompt.messages, prompt.context, {"world": "support", "world_seed": seed, "topic": prompt.topic}
        )
        for key, prompt in by_key.items()
    )
    responses = _responses(world, list(by_key.items())[:prompts], rng)
    order = rng.sample(responses, len(responses))
    reviews = _reviews(people, by_key, order[:labelled], twice, rng)
    pairs = list(zip(responses[::2], responses[1::2], strict=True))
    rng.shuffle(pairs)
    preferences = tuple(_preference(people, by_key, pair, rng) for pair in pairs[:compared])
    return DemoContent(
        project=f"{world.brand} support",
        guidelines=GUIDELINES,
        labels=LABELS,
        reaction_kinds=REACTION_KINDS,
        annotators=tuple(STAFF),
        prompts=stored,
        responses=responses,
        reviews=reviews,
        preferences=preferences,
        rewrites=_rewrites(people, by_key, responses, reviews, rng),
        reactions=_reactions(world, by_key, responses, rng),
        to_label=tuple(r.key for r in sorted(order[labelled:], key=lambda r: -_show(world, by_key[r.prompt], r.text))),
        to_compare=tuple((a.key, b.key) for a, b in pairs[compared:]),
    )


def _responses(world: World, prompts: list[tuple[str, WorldPrompt]], rng: random.Random) -> tuple[DemoResponse, ...]:
    responses = []
    for key, prompt in prompts:
        asked = rng.randrange(2 * DAY, 21 * DAY)
        for model, rates in MODELS.items():
            text = world.answer(prompt, rng, rates).text
            responses.append(DemoResponse(f"r{len(responses)}", key, model, text, asked))
    return tuple(responses)


def _reviews(
    people: dict[str, Annotator],
    by_key: dict[str, WorldPrompt],
    chosen: list[DemoResponse],
    twice: int,
    rng: random.Random,
) -> tuple[DemoReview, ...]:
    reviews = []
    for number, response in enumerate(chosen):
        names = [rng.choices(list(STAFF), weights=list(STAFF.values()))[0]]
        if number < twice:
            names.append(rng.choice([name for name in STAFF if name not in names]))
        for name in names:
            prompt = by_key[response.prompt]
            marks = tuple(people[name].mark(prompt, response.text, rng))
            verdict, words = people[name].verdict(prompt, response.text, rng)
            ago = rng.randrange(30, response.minutes_ago - DAY)
            reviews.append(DemoReview(response.key, name, marks, verdict, words if rng.random() < 0.3 else "", ago))
    return tuple(reviews)


def _preference(
    people: dict[str, Annotator],
    by_key: dict[str, WorldPrompt],
    pair: tuple[DemoResponse, DemoResponse],
    rng: random.Random,
) -> DemoPreference:
    a, b = rng.sample(pair, 2)
    name = rng.choices(list(STAFF), weights=list(STAFF.values()))[0]
    choice = people[name].compare(by_key[a.prompt], a.text, b.text, rng)
    return DemoPreference(a.prompt, a.key, b.key, name, choice, rng.randrange(30, a.minutes_ago - DAY))


def _rewrites(
    people: dict[str, Annotator],
    by_key: dict[str, WorldPrompt],
    responses: tuple[DemoResponse, ...],
    reviews: tuple[DemoReview, ...],
    rng: random.Random,
) -> tuple[DemoRewrite, ...]:
    """Every eighth marked answer is also rewritten, by the one who marked it."""
    by_response = {response.key: response for response in responses}
    rewrites = []
    for review in reviews:
        response = by_response[review.response]
        if any(mark.sentiment < 0 for mark in review.marks) and rng.random() < 1 / 8:
            better = people[review.annotator].rewrite(by_key[response.prompt], response.text, rng)
            if better != response.text:
                rewrites.append(DemoRewrite(response.key, review.annotator, better, review.minutes_ago))
    return tuple(rewrites)


def _reactions(
    world: World, by_key: dict[str, WorldPrompt], responses: tuple[DemoResponse, ...], rng: random.Random
) -> tuple[DemoReaction, ...]:
    """Customers who were shown an answer: most say nothing, and what they tap depends on how good it was."""
    reactions = []
    for number, response in enumerate(responses):
        if rng.random() >= 0.5:
            continue
        user, ago = f"user-{number:04d}", response.minutes_ago - 1
        reactions.append(DemoReaction(response.key, "shown", user, ago))
        quality = world.true_quality(by_key[response.prompt], response.text)
        if rng.random() < 0.45:
            liked = rng.random() < 0.1 + 0.8 * quality
            kind = (
                rng.choices(("love", "like", "copy"), (1, 3, 2))[0] if liked else rng.choice(("dislike", "regenerate"))
            )
            reactions.append(DemoReaction(response.key, kind, user, ago - rng.randrange(1, 30)))
    return tuple(reactions)


def _show(world: World, prompt: WorldPrompt, text: str) -> float:
    """How much a newcomer sees in this answer: several kinds of defect, Arabic words, an emoji."""
    kinds = {defect.kind for defect in world.defects(prompt, text)}
    arabic = any("\u0600" <= character <= "\u06ff" for character in text)
    emoji = any(ord(character) > 0x1F000 for character in text)
    return 2 * min(3, len(kinds)) + 2 * arabic + emoji + 2 * (arabic and emoji) - 3 * (GARBLED in kinds)
