"""Scene 11: how far bought hands move P(love) of a model version, with and without the filter.

An honest crowd of varied tastes and zeal (1 to 200 answers each), and 1 % or 5 % who are paid to make version "v2" look
good: always-love, copy-paste, sleeper (honest for 100 reactions), ring (loves the same bad answers), and all four
together. The truth is P(love) of v2 among the honest, uncapped and unfiltered. Thresholds were chosen on seeds below
100 and 1000 to 1004; the report is on others. Beyond the scene: "careful" hands, who know the filter and love 40 % of
60 different answers; and other products: v2 far better than v1, love that is rare, love that is common.

    python -m benchmarks.bought_hands [--seeds 5 --first 1000]       the last line is one JSON object
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from annotation.honesty import judging as honesty
from benchmarks.harness import finish, say

VERSIONS = ("v1", "v2")
KINDS = ("love", "dislike", "copy")
FEED = 300  # answers of each version that many see; the others are seen by one
ATTACKS = ("always", "copies", "sleeper", "ring")
PHRASES = ["thanks", "great answer", "this was not helpful", "exactly what i needed", "wrong", "good", "ok", "too long"]
BOUGHT = ["Amazing answer, so helpful, thank you!", "Best model I have ever used.", "Wow, this is perfect work!"]


@dataclass
class Person:
    """One user's doings in order: (answer, version, seconds, kind or '', text)."""

    name: str
    attack: str = ""
    seen: list[tuple[int, int, float, str, str]] = field(default_factory=list)


class Crowd:
    """`honest` users, and so many attackers that they are `share` of all."""

    def __init__(
        self,
        seed: int,
        *,
        honest: int = 2000,
        attack: str = "",
        share: float = 0.0,
        better: float = 0.25,
        zeal: float = -2.6,
    ) -> None:
        self.better, self.zeal = better, zeal  # of v2; of users: logits
        self.chance = np.random.default_rng(seed)
        self.quality: dict[int, float] = {}
        self.private = 10**6
        feed = [self.chance.normal(0, 0.8, FEED) for _ in VERSIONS]
        for version, qualities in enumerate(feed):
            self.quality.update({version * FEED + place: float(q) for place, q in enumerate(qualities)})
        # what the ring wants loved: bad answers of v2
        self.wanted = [FEED + int(place) for place in np.argsort(feed[1])[:60]]
        self.people = [self.honest(f"user-{number}") for number in range(honest)]
        bought = round(honest * share / (1 - share)) if share else 0
        for number in range(bought):
            kind = ATTACKS[number % len(ATTACKS)] if attack == "mixed" else attack
            person = Person(f"hand-{number}", kind)
            getattr(self, kind)(person)
            self.people.append(person)
        self.chance.shuffle(self.people)  # type: ignore[arg-type]

    def honest(self, name: str) -> Person:
        person = Person(name)
        taste = self.taste()
        clock = self.clock()
        for _ in range(int(np.exp(self.chance.uniform(0, np.log(201))))):
            self.look(person, taste, next(clock))
        return person

    def taste(self) -> tuple[float, float]:
        """How easily somebody loves and dislikes, in logits; one in fifty loves most of what they see."""
        love = self.chance.normal(0.6, 0.6) if self.chance.random() < 0.02 else self.chance.normal(self.zeal, 1.0)
        return love, self.chance.normal(-3.2, 1.0)

    def look(self, person: Person, taste: tuple[float, float], at: float, version: int | None = None) -> None:
        """An honest look at one more answer."""
        version = int(self.chance.integers(2)) if version is None else version
        answer, quality = self.next_answer(version)
        better = self.better * version + quality
        kind = ""
        if self.chance.random() < sigmoid(taste[0] + better):
            kind = "love"
        elif self.chance.random() < sigmoid(taste[1] - better):
            kind = "dislike"
        elif self.chance.random() < 0.08:
            kind = "copy"
        text = ""
        if kind in ("love", "dislike") and self.chance.random() < 0.1:
            generic = self.chance.random() < 0.4
            text = str(self.chance.choice(PHRASES)) if generic else f"what i think of {answer} by {person.name}"
        person.seen.append((answer, version, at, kind, text))

    def next_answer(self, version: int) -> tuple[int, float]:
        if self.chance.random() < 0.5:
            answer = version * FEED + int(self.chance.integers(FEED))
        else:
            self.private += 1
            answer = self.private
        return answer, self.quality.get(answer, float(self.chance.normal(0, 0.8)))

    def clock(self) -> Iterator[float]:
        at = float(self.chance.uniform(0, 30 * 86400))
        while True:
            at += 3 + float(self.chance.lognormal(3.8, 1.0))
            yield at

    def always(self, person: Person) -> None:
        for at in self.ticks(200):
            person.seen.append((self.next_answer(1)[0], 1, at, "love", ""))

    def copies(self, person: Person) -> None:
        for number, at in enumerate(self.ticks(150)):
            loves = self.chance.random() < 0.6
            text = BOUGHT[number % len(BOUGHT)] if loves else ""
            person.seen.append((self.next_answer(1)[0], 1, at, "love" if loves else "", text))

    def sleeper(self, person: Person) -> None:
        taste, clock, taps = self.taste(), self.clock(), 0
        while taps < 100 and len(person.seen) < 1500:
            self.look(person, taste, next(clock))
            taps += person.seen[-1][3] != ""
        for _ in range(100):
            person.seen.append((self.next_answer(1)[0], 1, next(clock), "love", ""))

    def ring(self, person: Person) -> None:
        taste, clock = self.taste(), self.clock()
        wanted = list(self.chance.permutation(self.wanted)[: int(self.chance.integers(40, 61))])
        for _ in range(len(wanted) + 60):
            if wanted and self.chance.random() < 0.5:
                loves = self.chance.random() < 0.9
                person.seen.append((int(wanted.pop()), 1, next(clock), "love" if loves else "", ""))
            else:
                self.look(person, taste, next(clock))

    def careful(self, person: Person) -> None:
        for at in self.ticks(60):
            person.seen.append((self.next_answer(1)[0], 1, at, "love" if self.chance.random() < 0.4 else "", ""))

    def ticks(self, count: int) -> Iterator[float]:
        clock = self.clock()
        return (next(clock) for _ in range(count))


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def once(person: Person) -> list[tuple[int, int, float, str, str]]:
    """One vote for each answer, whatever was tapped first: what the counting makes of it."""
    seen: dict[int, tuple[int, int, float, str, str]] = {}
    for one in person.seen:
        if one[0] not in seen or (not seen[one[0]][3] and one[3]):
            seen[one[0]] = one if one[0] not in seen else (*seen[one[0]][:3], *one[3:])
    return list(seen.values())


def evidence_of(people: list[Person]) -> honesty.Evidence:
    rows, taps = [], []
    again: dict[str, int] = Counter()
    for user, person in enumerate(people):
        texts: Counter[str] = Counter()
        for answer, version, at, kind, text in once(person):
            rows.append((user, answer, version, kind == "love", kind == "dislike"))
            if kind:
                told = honesty.same(text)
                taps.append((user, answer, KINDS.index(kind), at, told))
                texts[told] += bool(told)
        again.update(text for text, times in texts.items() if times >= 3)
    user, answer, version, good, bad = (np.array(column) for column in zip(*rows, strict=True))
    tapper, on, kinds, at, text = zip(*taps, strict=True)
    return honesty.Evidence(
        users=[person.name for person in people],
        judged=len(people),
        versions=VERSIONS,
        kinds=KINDS,
        exposures=honesty.Exposures(user=user, answer=answer, version=version, good=good, bad=bad),
        taps=honesty.Taps(user=np.array(tapper), answer=np.array(on), kind=np.array(kinds), at=np.array(at), text=text),
        written_by={text: users - 1 for text, users in again.items()},
    )


def summaries_of(people: list[Person], left_out: set[str]) -> Iterator[honesty.Summary]:
    for person in people:
        seen = once(person)
        versions: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for _, version, _, kind, _ in seen:
            counts = versions[VERSIONS[version]]
            counts[0] += 1
            counts[1] += kind == "love"
            counts[2] += kind == "dislike"
        kinds = Counter(kind for *_, kind, _ in seen if kind)
        yield honesty.Summary({v: tuple(c) for v, c in versions.items()}, kinds.total(), kinds, person.name in left_out)  # type: ignore[misc]


def love(people: list[Person], *, left_out: set[str] = frozenset(), capped: bool = False) -> float:  # type: ignore[assignment]
    """P(love) of v2."""
    of = {person.name: [one for one in once(person) if one[1] == 1] for person in people}
    most = honesty.most_answers(sum(map(len, of.values()))) if capped else 10**9
    counted = [one for name, seen in of.items() if name not in left_out for one in seen[:most]]
    return sum(one[3] == "love" for one in counted) / max(len(counted), 1)


@dataclass
class Outcome:
    """Points of P(love), and who was left out."""

    truth: float
    unfiltered: float
    capped: float
    filtered: float
    honest_out: float
    caught: float
    reasons: Counter[str]
    unexplained: int


def run(seed: int, **crowd: Any) -> Outcome:
    people = Crowd(seed, **crowd).people
    evidence = evidence_of(people)
    verdicts = honesty.judge(evidence, honesty.build(summaries_of(people, set())))
    out = {one.user: one for one in verdicts if one.score >= honesty.LEAVE_OUT}
    believed = [person for person in people if not person.attack]
    hands = [person for person in people if person.attack]
    truth = love(believed)
    return Outcome(
        truth=100 * truth,
        unfiltered=100 * (love(people) - truth),
        capped=100 * (love(people, capped=True) - truth),
        filtered=100 * (love(people, left_out=set(out), capped=True) - truth),
        honest_out=sum(person.name in out for person in believed) / len(believed),
        caught=sum(person.name in out for person in hands) / max(len(hands), 1),
        reasons=Counter(one.reasons[0].code for one in out.values()),
        unexplained=sum(not one.reasons or not all(r.words for r in one.reasons) for one in out.values()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--first", type=int, default=2000, help="those below 100, and 1000 to 1004, were used to choose thresholds"
    )
    parser.add_argument("--honest", type=int, default=2000)
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    worst = {0.01: 0.0, 0.05: 0.0}
    honest_out, unexplained, table = 0.0, 0, []
    print("| share | attack | P(love) | moved, no filter | bounded only | with the filter | caught | honest left out |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    scenes: list[tuple[float, str, str, dict[str, float]]] = [
        (0.0, "", "none", {}),
        (0.0, "", "none, v2 far better", {"better": 1.5}),
        (0.0, "", "none, love is rare", {"zeal": -6.0}),
        *((share, attack, attack, {}) for share in worst for attack in (*ATTACKS, "mixed", "careful")),
        *((share, "mixed", "mixed, love is rare", {"zeal": -6.0}) for share in worst),
        *((share, "mixed", "mixed, love is common", {"zeal": -1.0}) for share in worst),
    ]
    for share, attack, name, world in scenes:
        found = [run(seed, attack=attack, share=share, honest=given.honest, **world) for seed in seeds]
        mean = {
            name: float(np.mean([getattr(one, name) for one in found])) for name in ("truth", "caught", "honest_out")
        }
        most = {
            name: max((getattr(one, name) for one in found), key=abs) for name in ("unfiltered", "capped", "filtered")
        }
        if share and attack != "careful":
            worst[share] = max(worst[share], abs(most["filtered"]))
        honest_out = max(honest_out, *(one.honest_out for one in found))
        unexplained += sum(one.unexplained for one in found)
        print(
            f"| {share:.0%} | {name} | {mean['truth']:.1f} % | {most['unfiltered']:+.2f} | {most['capped']:+.2f} "
            f"| {most['filtered']:+.2f} | {mean['caught']:.0%} | {mean['honest_out']:.2%} |",
            flush=True,
        )
        say(f"{share:.0%} {name}: {dict(sum((one.reasons for one in found), Counter()))}")
        table.append({"share": share, "attack": name, **{k: round(v, 3) for k, v in {**mean, **most}.items()}})
    print(f"\nThe most of {given.seeds} seeds each, in points of P(love).")
    finish(
        seeds=list(seeds),
        moved_by_1_percent=round(worst[0.01], 3),
        moved_by_5_percent=round(worst[0.05], 3),
        honest_left_out=round(honest_out, 4),
        without_reason=unexplained,
        passed=worst[0.01] <= 1 and worst[0.05] <= 3 and honest_out <= 0.02 and not unexplained,
        table=table,
    )


if __name__ == "__main__":
    main()
