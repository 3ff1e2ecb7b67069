"""What support people say around the facts: names, greetings, courtesies, rude words, digressions, invented claims.

All of it is a closed list on purpose: the reader (`reading.py`) can then tell a phrase that belongs from one that
does not, and a tiny model can learn the language in a minute. Right-to-left names, joined emoji and a name with a
combining accent are in it so that every part of the product that counts characters meets them from the first day.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """A customer; `tongue` chooses the greeting."""

    text: str
    tongue: str = "en"


NAMES = (
    Name("Ana"),
    Name("Tom"),
    Name("Priya"),
    Name("Kwame"),
    Name("Mei"),
    Name("Grace"),
    Name("Zoë"),
    Name("Søren"),
    Name("Łukasz"),
    Name("Ngọc"),
    Name("Rene\u0301"),  # the accent is a combining mark: one letter for people, two code points for us
    Name("José", "es"),
    Name("Amélie", "fr"),
    Name("ليلى", "ar"),
    Name("يوسف", "ar"),
    Name("נועה", "he"),
)

# What the customer writes before and what support answers with; {n} is the name.
HELLOS = {
    "en": ("Hello!", "Hi,", "Good morning,"),
    "es": ("¡Hola!", "Hello!"),
    "fr": ("Bonjour,", "Hello!"),
    "ar": ("مرحبا!", "السلام عليكم،"),
    "he": ("שלום!", "Hello!"),
}
SIGNATURES = ("Thanks, {n}", "Best wishes, {n}", "{n}")

GREETINGS = {
    "en": ("Hi {n},", "Hello {n},", "Dear {n},", "Good morning {n}!"),
    "es": ("¡Hola {n}!", "Hello {n},"),
    "fr": ("Bonjour {n},", "Dear {n},"),
    "ar": ("مرحبا {n}،", "أهلا {n}،", "Hello {n},"),
    "he": ("שלום {n},", "Dear {n},"),
}
PLAIN_GREETINGS = ("Hi there,", "Hello,", "Good morning!")

OPENINGS = (
    "Thank you for writing to us.",
    "Thanks for your message!",
    "I am happy to help with that.",
    "That is a good question.",
    "I am sorry for the trouble.",
    "Let us sort this out together.",
)
LEADS = ("Good to know:", "As the handbook says,", "In short,", "Just so you know,")
CLOSINGS = (
    "Happy growing! 🌱",
    "Have a sunny day ☀️",
    "Write to us any time 😊",
    "Please tell us if this does not help.",
    "We are here if you need more help.",
    "Best wishes from the whole team 👩‍🌾",
    "That is all 👍🏽",
    "Enjoy your plants!",
)
EMOJI = ("🌱", "☀️", "😊", "👩‍🌾", "👍🏽", "💧")


@dataclass(frozen=True)
class Rude:
    """A rude phrase, how bad it is (1 to 3), and the kind words that stand in the same place."""

    text: str
    severity: int
    instead: str


RUDE_OPENINGS = (
    Rude("You should have read the handbook first.", 2, "Thank you for writing to us."),
    Rude("Did you even look at the handbook?", 2, "That is a good question."),
    Rude("We get this silly question every day.", 3, "We get this question quite often."),
    Rude("I really have no time for this.", 3, "I am happy to help with that."),
    Rude("This is not hard at all, you know.", 1, "Let us sort this out together."),
    Rude("Most people find this out by themselves.", 1, "Thanks for your message!"),
    Rude("You clearly did something wrong again.", 2, "I am sorry for the trouble."),
)
RUDE_LEADS = (
    Rude("As any child knows,", 2, "As the handbook says,"),
    Rude("Listen carefully this time:", 2, "Good to know:"),
    Rude("Obviously,", 1, "In short,"),
    Rude("For those who cannot read,", 3, "Just so you know,"),
)
RUDE_TAILS = (
    Rude("if you can manage that", 2, ""),
    Rude("even if it is hard for you", 2, ""),
    Rude("and please do not break it this time", 1, ""),
)
RUDE_CLOSINGS = (
    Rude("Do not write to us again about this.", 3, "Write to us any time 😊"),
    Rude("Even you should be able to do that.", 3, "Please tell us if this does not help."),
    Rude("Next time, think before you ask.", 3, "We are here if you need more help."),
    Rude("I hope that was slow enough for you.", 2, "Happy growing! 🌱"),
    Rude("Now stop complaining.", 2, "Enjoy your plants!"),
)
OPENINGS = (*OPENINGS, "We get this question quite often.")

# Digressions: {who} {did} {where}. Two in a row are one longer digression.
RAMBLES = (
    "By the way, {who} once {did} {where}.",
    "This reminds me of how {who} {did} {where}.",
    "Funny enough, {who} also {did} {where}.",
)
RAMBLE_WHO = ("our founder", "my cousin", "a friend of mine", "one of our testers", "my old neighbour")
RAMBLE_DID = (
    "grew a lemon tree",
    "won a prize for mint",
    "painted a wall green",
    "lost a pair of gloves",
    "cooked soup for forty guests",
    "talked to a cactus for a year",
)
RAMBLE_WHERE = ("in Lisbon", "in a tiny kitchen", "on a night train", "at the town fair", "on the roof of a school")
FIXED_RAMBLES = (
    "Gardens have always been a place of calm, and calm is what we all need.",
    "Our company began in a garage, and the garage had a very nice door.",
    "There are many kinds of basil, and each of them has a story of its own.",
    "Speaking of water, it rained here the whole weekend.",
    "I could go on about tomatoes for hours, so let me stop here.",
)

# Claims about the product that no handbook makes.
CLAIMS = (
    "Your {p} will also {claim}.",
    "By default the {p} can {claim}.",
    "And do not forget that the {p} can {claim}.",
)
CLAIM_ENDS = (
    "order new pods by itself",
    "call you on the phone",
    "heat the room in winter",
    "water the plants on your balcony",
    "work without any power for a week",
    "scare away flies with a secret sound",
)

FIRST_WORDS = ("First,", "To start,", "Please", "")
NEXT_WORDS = ("Then", "Next,", "After that,")
LAST_WORDS = ("Finally,", "Then", "At the end,")
JOINED = "then"  # "First, open the lid, then press the button."
INSERTED_FIRST, INSERTED_NEXT, INSERTED_LAST = "Before anything else,", "After that,", "As the last step,"
