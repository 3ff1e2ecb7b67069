"""The invented product and its handbook: what is true in a support world, as data.

A topic is one section of the handbook. It knows one fact that differs between the three sizes of the product
(`{v}`), the steps that an answer must give in this order (some with a value `{s}` of their own), and several ways
to ask and to say each of them. The values are drawn from the pools by the world's seed, so that two worlds speak
alike and disagree on everything.

Rules for whoever adds a topic: a step's wordings are clauses in lower case without a full stop; no template starts
with a slot; a step's value stands in every wording of it; the first wording is the one that the handbook itself
uses.
"""

from dataclasses import dataclass

PRODUCTS = ("Fernwell", "Mossbox", "Greenhaus", "Tillo", "Sprig", "Verdani")
SIZES = ("Mini", "Home", "Max")


@dataclass(frozen=True)
class StepWords:
    """One step: its wordings and, where it holds a value, the values it could have."""

    wordings: tuple[str, ...]
    pool: tuple[str, ...] = ()


@dataclass(frozen=True)
class Topic:
    """One section of the handbook. `pool[0:]` are the values that the fact could have."""

    key: str
    title: str
    asks: tuple[str, ...]
    facts: tuple[str, ...]
    pool: tuple[str, ...]
    steps: tuple[StepWords, ...]


def _step(*wordings: str, pool: tuple[str, ...] = ()) -> StepWords:
    return StepWords(wordings, pool)


def _pool(unit: str, *numbers: str | int | float) -> tuple[str, ...]:
    return tuple(f"{number} {unit}" for number in numbers)


TOPICS = (
    Topic(
        "water",
        "Filling the tank",
        (
            "How do I fill the tank of my {p}?",
            "How much water goes into the {p}, and how do I pour it in?",
            "My {p} says that it is thirsty. What should I do?",
            "The water light of my {p} is on. How do I fill it up?",
        ),
        (
            "The tank of your {p} holds {v}.",
            "Your {p} takes {v} of water.",
            "There is room for {v} of water in the {p}.",
        ),
        _pool("litres", 1.5, 2, 3, 4.5, 6, 8),
        (
            _step("open the flap on the left", "lift the small flap on the left side"),
            _step(
                "pour in fresh water up to the {s}",
                "add fresh water until it reaches the {s}",
                pool=("blue line", "white line", "red line"),
            ),
            _step("close the flap until it clicks", "press the flap down until you hear a click"),
        ),
    ),
    Topic(
        "light",
        "Setting the lamp",
        (
            "How long should the lamp of my {p} be on?",
            "My {p} shines at the wrong time of day. How do I set the lamp?",
            "The leaves in my {p} look pale. How do I set the light?",
            "Can you tell me how to set the lamp hours of the {p}?",
        ),
        (
            "The lamp of your {p} should shine for {v} a day.",
            "Plants in the {p} need {v} of light a day.",
            "For your {p} we advise {v} of light each day.",
        ),
        _pool("hours", 10, 11, 12, 13, 14, 16),
        (
            _step(
                "turn the lamp wheel to the {s}",
                "set the lamp wheel to the {s}",
                pool=("sun sign", "leaf sign", "clock sign"),
            ),
            _step("choose a start time in the app", "pick the hour at which it starts in the app"),
            _step("press the lamp wheel once to save", "save it with one press on the lamp wheel"),
        ),
    ),
    Topic(
        "filter",
        "Changing the filter",
        (
            "How often do I need a new filter for my {p}?",
            "My {p} asks me to change the filter. How does that work?",
            "How do I change the filter of the {p}?",
            "The water in my {p} smells. Is it the filter?",
        ),
        (
            "Your {p} needs a new filter every {v}.",
            "The filter of the {p} lasts for {v}.",
            "A filter in the {p} should be changed after {v}.",
        ),
        _pool("weeks", 3, 4, 5, 6, 8, 10),
        (
            _step("switch the pump off", "turn off the pump"),
            _step("pull out the old filter and rinse the holder", "take out the old filter and rinse its holder"),
            _step(
                "push in the new filter with the {s} facing you",
                "slide in the new filter so that you see the {s}",
                pool=("green side", "grey side", "open side"),
            ),
            _step("switch the pump on again", "turn the pump back on"),
        ),
    ),
    Topic(
        "food",
        "Plant food",
        (
            "How much plant food does my {p} need?",
            "My basil in the {p} grows slowly. How do I feed it?",
            "How do I add plant food to the {p}?",
            "Is there a rule for feeding the plants in my {p}?",
        ),
        (
            "Your {p} needs {v} of plant food a week.",
            "The right dose for the {p} is {v} a week.",
            "Please give the plants in your {p} no more than {v} a week.",
        ),
        _pool("drops", 5, 8, 10, 15, 20, 25),
        (
            _step(
                "shake the bottle for {s}", "give the bottle a good shake for {s}", pool=_pool("seconds", 5, 10, 15, 30)
            ),
            _step(
                "add the drops to the water and not to the roots",
                "let the drops fall into the water and not on the roots",
            ),
            _step("run the pump once to mix it", "start the pump once so that it mixes"),
        ),
    ),
    Topic(
        "wifi",
        "Connecting to the Wi-Fi",
        (
            "My {p} does not find the Wi-Fi. What can I do?",
            "How do I connect the {p} to my Wi-Fi?",
            "We have a new router. How do I bring my {p} online again?",
            "The app says that my {p} is offline. How do I connect it?",
        ),
        (
            "Your {p} may stand up to {v} away from the router.",
            "The {p} has a reach of {v} to the router.",
            "Between your {p} and the router there should be no more than {v}.",
        ),
        _pool("metres", 4, 6, 8, 10, 12, 15),
        (
            _step(
                "hold the power button for {s}",
                "keep the power button pressed for {s}",
                pool=_pool("seconds", 3, 5, 8, 12),
            ),
            _step("choose your network in the app", "pick the name of your network in the app"),
            _step("wait until the ring turns blue", "wait for the ring to turn blue"),
        ),
    ),
    Topic(
        "reset",
        "Starting afresh",
        (
            "How do I reset my {p}?",
            "I bought a used {p}. How do I clear the old settings?",
            "My {p} hangs and no button works. How do I reset it?",
            "Can I bring the {p} back to how it was when new?",
        ),
        (
            "A reset of the {p} takes about {v}.",
            "Your {p} will need {v} for a full reset.",
            "Please plan {v} for the reset of your {p}.",
        ),
        _pool("minutes", 2, 3, 4, 6, 9, 12),
        (
            _step("pull the plug", "take the plug out of the wall"),
            _step(
                "hold both buttons for {s} while you plug it in",
                "plug it in while you hold both buttons for {s}",
                pool=_pool("seconds", 6, 10, 15, 20),
            ),
            _step("let go when the lamp blinks twice", "release them when you see the lamp blink twice"),
        ),
    ),
    Topic(
        "returns",
        "Sending it back",
        (
            "Can I still send my {p} back?",
            "The {p} is too big for my kitchen. How do I return it?",
            "I would like to return my {p}. How does that work?",
            "What is the way to get my money back for the {p}?",
        ),
        (
            "You can return the {p} within {v}.",
            "Returns of the {p} are free for {v}.",
            "You have {v} to send your {p} back.",
        ),
        _pool("days", 14, 20, 30, 45, 60, 90),
        (
            _step("ask for a return label in the app", "order a return label in the app"),
            _step(
                "empty the tank and let it dry for {s}",
                "pour out the tank and leave it to dry for {s}",
                pool=_pool("hours", 2, 6, 12, 24),
            ),
            _step("bring the box to any post office", "hand in the box at a post office"),
        ),
    ),
    Topic(
        "warranty",
        "Warranty and repair",
        (
            "My {p} is broken. Is it still under warranty?",
            "The lid of my {p} has a crack. Who can repair it?",
            "How long is the warranty of the {p}, and how do I use it?",
            "The motor of my {p} died. How do I ask for a repair?",
        ),
        (
            "The warranty of your {p} runs for {v}.",
            "Your {p} is covered for {v}.",
            "We repair the {p} free of charge for {v}.",
        ),
        _pool("months", 12, 18, 24, 30, 36, 48),
        (
            _step("take a photo of the fault", "make a photo that shows the fault"),
            _step(
                "copy the number from the {s}",
                "write down the number on the {s}",
                pool=("silver sticker", "inner lid", "base plate"),
            ),
            _step("send both to the repair desk", "mail both of them to the repair desk"),
        ),
    ),
    Topic(
        "delivery",
        "Delivery",
        (
            "Where is my {p}? I ordered it last week.",
            "When will the {p} that I ordered arrive?",
            "How long does it take to get a {p}, and can I follow it?",
            "I will be away on Friday. Can I move the delivery of my {p}?",
        ),
        (
            "The {p} reaches you within {v}.",
            "Your {p} should be with you after {v}.",
            "We deliver the {p} within {v}.",
        ),
        _pool("working days", 2, 3, 4, 5, 7, 9),
        (
            _step("open your order in the app", "go to your order in the app"),
            _step(
                "tap the {s} to see where it is",
                "touch the {s} and you will see where it is",
                pool=("truck", "map", "parcel"),
            ),
            _step("choose another day if you are not at home", "pick a new day if nobody is at home"),
        ),
    ),
    Topic(
        "noise",
        "A noisy pump",
        (
            "The pump of my {p} is very loud. Is that normal?",
            "My {p} hums all night. How do I make it quiet?",
            "How loud may the {p} be, and what helps?",
            "There is a rattle in my {p}. What can I do?",
        ),
        (
            "The pump of your {p} should stay below {v}.",
            "A healthy {p} makes no more than {v} of noise.",
            "Up to {v} is normal for the {p}.",
        ),
        _pool("decibels", 22, 25, 28, 32, 35, 40),
        (
            _step("check that it stands level", "make sure that it stands level"),
            _step("take out the pump wheel and brush it", "remove the pump wheel and clean it with a brush"),
            _step(
                "let the pump run for {s} to push out the air",
                "run the pump for {s} so that the air gets out",
                pool=_pool("minutes", 1, 2, 5, 10),
            ),
        ),
    ),
    Topic(
        "cleaning",
        "Cleaning",
        (
            "How do I clean my {p}?",
            "There is something green on the walls of my {p}. How do I wash it?",
            "How often does the {p} need a good cleaning?",
            "What may I use to clean the inside of the {p}?",
        ),
        (
            "Your {p} should be cleaned every {v}.",
            "Please clean the {p} once in {v}.",
            "A {p} stays healthy when you clean it every {v}.",
        ),
        _pool("months", 1, 2, 3, 4, 5, 6),
        (
            _step("take out the plants and the pods", "lift out the pods with the plants"),
            _step(
                "fill it with warm water and {s} of vinegar",
                "pour in warm water with {s} of vinegar",
                pool=_pool("spoons", 2, 3, 4, 6),
            ),
            _step("let it stand for one hour", "leave it alone for one hour"),
            _step("rinse it twice with clear water", "wash it out twice with clear water"),
        ),
    ),
    Topic(
        "pods",
        "Planting pods",
        (
            "How many pods fit into my {p}?",
            "How do I plant the pods in the {p}?",
            "I got my first pods for the {p}. What do I do with them?",
            "Nothing grows in my {p}. How do I plant it right?",
        ),
        (
            "Your {p} has room for {v}.",
            "There are places for {v} in the {p}.",
            "The {p} can carry {v} at a time.",
        ),
        _pool("pods", 3, 4, 6, 9, 12, 18),
        (
            _step(
                "soak each pod in water for {s}",
                "leave each pod in water for {s}",
                pool=_pool("minutes", 5, 10, 20, 30),
            ),
            _step("press the pods gently into the rings", "push each pod gently into its ring"),
            _step("cover them with the clear domes", "put the clear domes over them"),
        ),
    ),
    Topic(
        "holiday",
        "Holiday mode",
        (
            "We are going away. Can my {p} take care of itself?",
            "How long can I leave the {p} alone?",
            "What should I do with my {p} before a holiday?",
            "Does the {p} have a holiday mode, and how do I use it?",
        ),
        (
            "Your {p} can look after itself for {v}.",
            "The {p} may stay alone for {v}.",
            "In holiday mode the {p} lasts for {v}.",
        ),
        _pool("days", 5, 7, 10, 12, 16, 21),
        (
            _step("cut the plants back by {s}", "trim the plants by {s}", pool=("a third", "a half", "a quarter")),
            _step("fill the tank to the top", "fill up the tank to the very top"),
            _step("choose the palm tree in the app", "tap the palm tree in the app"),
        ),
    ),
    Topic(
        "sharing",
        "Sharing with the family",
        (
            "Can my husband also use the app for our {p}?",
            "How do I share the {p} with my family?",
            "How many people can use one {p} in the app?",
            "My daughter wants to see our {p} on her phone. How?",
        ),
        (
            "Up to {v} can share one {p}.",
            "You can share your {p} with {v}.",
            "The {p} works with the phones of {v}.",
        ),
        _pool("people", 2, 3, 4, 5, 6, 8),
        (
            _step("open the page Family in the app", "go to the page Family in the app"),
            _step("enter the email address of the person", "type in the email address of that person"),
            _step("ask them to accept within {s}", "let them accept it within {s}", pool=_pool("hours", 1, 4, 24, 48)),
        ),
    ),
    Topic(
        "plan",
        "The pod plan",
        (
            "What does the pod plan for the {p} cost?",
            "How do I stop the pod plan of my {p}?",
            "I have too many pods for my {p}. Can I pause the plan?",
            "You charged me for the {p} plan. How do I end it?",
        ),
        (
            "The pod plan for your {p} costs {v} a month.",
            "For the {p} the pod plan is {v} a month.",
            "You pay {v} a month for the pod plan of the {p}.",
        ),
        _pool("euros", 6, 8, 9, 12, 15, 19),
        (
            _step("open the page Plans in the app", "go to the page Plans in the app"),
            _step(
                "tap Pause or Stop before the {s} of the month",
                "choose Pause or Stop before the {s} of the month",
                pool=("5th", "10th", "20th", "25th"),
            ),
            _step("confirm it in the email that we send you", "say yes in the email that you get from us"),
        ),
    ),
    Topic(
        "battery",
        "The sensor battery",
        (
            "The sensor of my {p} has no power. What now?",
            "How do I change the battery in the sensor of the {p}?",
            "How long does the sensor battery of the {p} last?",
            "My {p} shows an empty battery. How do I change it?",
        ),
        (
            "The sensor battery of your {p} lasts for {v}.",
            "You can use one sensor battery in the {p} for {v}.",
            "A fresh battery keeps the sensor of your {p} going for {v}.",
        ),
        _pool("months", 6, 8, 10, 14, 16, 20),
        (
            _step("slide the cover off the sensor", "push the cover of the sensor aside"),
            _step(
                "put in a new battery with the plus sign {s}",
                "insert a new battery with the plus sign {s}",
                pool=("up", "down", "left"),
            ),
            _step("press the sensor until it beeps", "keep pressing the sensor until it beeps"),
        ),
    ),
)
