"""24 hours of late, doubled, out-of-order and retracted events: the figures are the same for every order of arrival."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from datetime import UTC
from uuid import uuid4

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation import events
from annotation.actions import counting
from annotation.models import LiveEvent, RateCell, Reaction, SpanCritique
from redpen.accounts.models import Project
from tests.annotation.stream import Stream, at, count_all, exposures_of, in_one_go, rates_of

USERS, ANSWERS, KINDS = ("u1", "u2", ""), ("a", "b"), ("shown", "like", "dislike")


@dataclass(frozen=True)
class Event:
    number: int
    kind: str
    on: str
    user: str
    minute: int
    named: bool
    retracts: bool
    copies: int  # how often it is sent
    taken_back: bool  # by its name
    marked: bool  # with a phrase

    @property
    def name(self) -> str | None:
        return f"e{self.number}" if self.named else None

    def dedup(self, project):
        if self.named:
            return events.named_event(project, False, self.name)
        about = {"response": self.on, "user": self.user, "kind": self.kind}
        return events.unnamed_event(project, False, **about, at=at(self.minute), retracts=self.retracts)


@dataclass
class Truth:
    """The rules, said once more as plainly as can be."""

    project: object
    events: list[Event]
    unique: dict = field(default_factory=dict)

    def __post_init__(self):
        self.unique = {event.dedup(self.project): event for event in self.events}

    def never_was(self, event: Event) -> bool:
        return event.named and event.taken_back

    def counts(self, event: Event) -> bool:
        if event.retracts or self.never_was(event):
            return False
        if event.user == "":
            return True
        same = [
            one for one in self.unique.values() if (one.on, one.user, one.kind) == (event.on, event.user, event.kind)
        ]
        if any(one.retracts and one.minute >= event.minute for one in same):
            return False
        when = (event.minute, event.dedup(self.project))
        return event.named or not any(
            not one.named and not one.retracts and (one.minute, one.dedup(self.project)) > when for one in same
        )

    def live(self) -> set:
        return {dedup for dedup, event in self.unique.items() if self.counts(event)}

    def exposures(self) -> dict:
        found: dict = {}
        for event in self.unique.values():
            if event.user == "":
                continue
            tapped = event.kind != "shown" and (event.retracts or not self.never_was(event))
            if self.counts(event) or tapped:
                hour = at(event.minute).astimezone(UTC).replace(minute=0)
                first, kinds = found.get((event.on, event.user), (hour, set()))
                kinds = kinds | ({event.kind} - {"shown"} if self.counts(event) else set())
                found[event.on, event.user] = (min(first, hour), kinds)
        return found

    def rates(self) -> dict:
        totals: dict = {}
        for _, kinds in self.exposures().values():
            for kind in (None, *kinds):
                totals["m-1", "", kind] = totals.get(("m-1", "", kind), 0) + 1
        return totals


event = st.builds(
    Event,
    number=st.integers(0, 10_000),
    kind=st.sampled_from(KINDS),
    on=st.sampled_from(ANSWERS),
    user=st.sampled_from(USERS),
    minute=st.sampled_from([0, 5, 59, 60, 600, 1439]),
    named=st.booleans(),
    retracts=st.sampled_from([False, False, False, True]),
    copies=st.sampled_from([1, 1, 2]),
    taken_back=st.sampled_from([False, False, True]),
    marked=st.sampled_from([False, False, True]),
)


def send(stream: Stream, one: Event):
    spans = [{"start": 9, "end": 13, "quote": "king"}] if one.marked and not one.retracts else None
    stream.tap(one.kind, on=one.on, user=one.user, minute=one.minute, name=one.name, retracts=one.retracts, spans=spans)


@pytest.mark.django_db(transaction=True)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(day=st.lists(event, min_size=1, max_size=14, unique_by=lambda one: one.number), order=st.randoms())
def test_the_figures_are_the_same_for_every_order_of_arrival(day, order):
    project = Project.objects.create(name="Day", slug=f"day-{uuid4().hex[:12]}")
    stream = Stream(project)
    does = [lambda name=name: stream.answer(name) for name in ANSWERS]
    for one in day:
        does += [lambda one=one: send(stream, one)] * one.copies
        if one.named and one.taken_back:
            does.append(lambda one=one: stream.take_back(one.name))
    order.shuffle(does)
    while does:
        some = order.randint(1, 4)
        in_one_go(*does[:some])
        does = does[some:]
        if order.random() < 0.5:
            counting.count() if order.random() < 0.7 else counting.catch_up()
    count_all()

    truth = Truth(project.pk, day)
    rows = Reaction.objects.filter(project=project)
    assert rows.count() == len(truth.unique)
    live = rows.filter(ended_at=None)
    assert set(live.values_list("dedup", flat=True)) == truth.live()
    assert set(LiveEvent.objects.filter(project=project).values_list("reaction", flat=True)) == {one.pk for one in live}
    assert exposures_of(project) == truth.exposures()
    assert rates_of(project) == rates_of(project, grain="hour") == truth.rates()
    marks = SpanCritique.objects.filter(project=project, ended_at=None).values_list("metadata__reaction", flat=True)
    assert sorted(marks) == sorted(str(one.pk) for one in live if one.spans)
    assert not counting.check(project)


@pytest.mark.django_db(transaction=True)
def test_nothing_is_missed_while_others_write():
    """Writers commit late and out of order; passes run all the while."""
    project = Project.objects.create(name="Rush", slug="rush")
    stream = Stream(project)
    sent, stop, wrong = 8 * 40, threading.Event(), []

    def write(number: int) -> None:
        chance = random.Random(number)
        try:
            for turn in range(40):
                name = f"{number}-{turn}"
                does = [lambda name=name: stream.answer(name), lambda name=name: stream.tap(on=name, user="u")]
                chance.shuffle(does)
                if chance.random() < 0.5:
                    in_one_go(*does, lambda: stop.wait(chance.random() / 100))  # its number is older than its commit
                else:
                    for do in does:
                        do()
        except Exception as error:  # noqa: BLE001 - told by the test itself
            wrong.append(error)
        finally:
            connection.close()

    def look() -> None:
        try:
            while not stop.is_set():
                counting.count()
        except Exception as error:  # noqa: BLE001
            wrong.append(error)
        finally:
            connection.close()

    writers = [threading.Thread(target=write, args=[number]) for number in range(8)]
    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in [*writers, *lookers]:
        thread.start()
    for thread in writers:
        thread.join(120)
    stop.set()
    for thread in lookers:
        thread.join(120)
    assert not wrong, wrong
    count_all()
    assert rates_of(project) == {("m-1", "", None): sent, ("m-1", "", "like"): sent}
    assert not counting.check(project)


@pytest.mark.django_db(transaction=True)
def test_a_database_that_moved_to_another_server_counts_on():
    """Restored elsewhere, transactions are numbered anew: lower than the cursor stands."""
    from annotation.models import CountingCursor

    project = Project.objects.create(name="Moved", slug="moved")
    stream = Stream(project)
    stream.answer()
    stream.tap(user="u1")
    count_all()
    far = 10**12
    Reaction.objects.update(xact=far - 1)  # was counted there
    stream.tap(user="u2")
    Reaction.objects.filter(external_user="u2").update(xact=far + 1)  # was not
    CountingCursor.objects.update(done=far)
    count_all()
    stream.tap(user="u3")
    count_all()
    assert rates_of(project) == {("m-1", "", None): 3, ("m-1", "", "like"): 3}
    assert RateCell.objects.exists()
