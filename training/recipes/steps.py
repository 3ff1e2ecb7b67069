"""The steps of a training, for every recipe: checkpoints, exact resume, evaluation, early stop, the best weights, and
alarms in words.

    for step in steps(run, loop, Batches(rows, size=16, epochs=3, seed=run.seed), parts={"policy": policy}):
        loop.forward_backward(run.heed(engine.packs.micro_batches(step.batch, tokens=4096)), objective)
        step.report(**loop.optim_step())

Between two steps everything that the next ones depend on is in the parts, the loop, the batches and the sources of
chance; a checkpoint holds these, and an attempt that finds one goes on as if nothing had happened. What a step's body
draws by itself it draws from seeds of (run.seed, step.number). Torch-free until the first step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from training import engine
from training.recipes.context import Cancelled, RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.checkpoints import Checkpoints
    from training.engine.loop import Batches, Loop

Item = TypeVar("Item")


class Part(Protocol):
    """Anything that is trained: a policy, a head."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@runtime_checkable
class Guard(Protocol):
    """An `evaluate` that has a state of its own, and may end the training."""

    @property
    def over(self) -> str:
        """Why it is to end now."""

    @property
    def best(self) -> str | None:
        """What the weights are chosen by that are put back then; None: it never ends a training."""

    def worth(self, values: Mapping[str, float]) -> float | None:
        """How good the weights of an evaluation are; None: they are never put back."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass
class Step(Generic[Item]):
    """One step: its batch (of several processes: this one's share), and the way to say how it went."""

    number: int  # from 0
    total: int
    batch: list[Item]
    values: dict[str, float] = field(default_factory=dict)
    ended: str = ""  # why it is to be the last one, where the recipe says so (in all processes alike)

    def report(self, **values: float) -> None:
        """Figures of this step: one event when the step is over, together with what is measured after it."""
        self.values |= values


def steps(
    run: RunContext,
    loop: Loop | None,
    batches: Batches[Item],
    *,
    parts: Mapping[str, Part],
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    every: int = 0,
    best: str | None = None,
    patience: int = 0,
) -> Iterator[Step[Item]]:
    """The steps that are still to be done: all of them, or those after the checkpoint of an earlier attempt.

    `evaluate` is called after the last step and, with `every`, each time so many are done; what it returns is said with
    that step's figures. `best` ("min dev_loss", "max dev_accuracy") names the figure whose best weights are put back at
    the end; with a `patience` the training ends after that many evaluations without a better one. An `evaluate` that is
    a `Guard` has its state kept, and may end the training.
    """
    total = len(batches)
    guard = evaluate if isinstance(evaluate, Guard) else None
    keeper = Keeper(run, loop, batches, parts, Best.parse(best, patience) if best and evaluate else None, guard)
    keeper.restore()
    here = engine.distributed.here()
    while not keeper.over and (batch := next(iter(batches), None)) is not None:
        if here.any(run.stop_requested):
            batches.position -= 1
            keeper.save()
            raise Cancelled
        step = Step(batches.position - 1, total, here.share(batch))
        yield step
        done = batches.position
        for warning in loop.warnings if loop is not None else ():
            run.log(warning, level="warning")
        if loop is not None:
            loop.warnings.clear()
        if evaluate and ((every and done % every == 0) or done == total or step.ended):
            step.report(**evaluate())
            keeper.measured(step.values)
        keeper.watch(step.values)
        if step.values:
            run.metrics(done, total, **step.values)
        if step.ended and not keeper.over:
            keeper.over = True
            run.log(f"The training ends at step {done}: {step.ended}", level="warning")
        keeper.heed()
        keeper.over = here.any(keeper.over or done == total)
        if here.any(keeper.due()):
            keeper.save()
    if keeper.put_best_back() and evaluate and keeper.guarded:
        evaluate()  # what is known last is known of the weights that stand
    if here.sharded:
        for part in parts.values():
            engine.distributed.put_together(getattr(part, "model", part))


@dataclass
class Best:
    """The best value of one figure so far, and how long ago that was."""

    name: str
    smaller: bool
    patience: int
    value: float | None = None
    step: int | None = None
    since: int = 0  # evaluations without a better one

    @classmethod
    def parse(cls, words: str, patience: int) -> Best:
        """From "min dev_loss" or "max dev_accuracy"."""
        direction, _, name = words.partition(" ")
        if direction not in ("min", "max") or not name:
            raise ValueError(
                f"“{words}” does not say which figure is best: write “min dev_loss” or “max dev_accuracy”."
            )
        return cls(name, direction == "min", patience)

    def better(self, value: float) -> bool:
        """Whether it beats all before; a NaN never does."""
        if self.value is None:
            return value == value
        return value < self.value if self.smaller else value > self.value


class Keeper:
    """Keeps what a training needs to go on, and puts it back."""

    def __init__(
        self,
        run: RunContext,
        loop: Loop | None,
        batches: Batches[Any],
        parts: Mapping[str, Part],
        best: Best | None,
        guard: Guard | None = None,
    ) -> None:
        self.run, self.loop, self.batches, self.parts, self.best = run, loop, batches, parts, best
        self.guard = guard
        self.guarded = best is None and guard is not None and guard.best is not None  # the guard says which are best
        if self.guarded and guard is not None and guard.best is not None:
            self.best = Best(guard.best, smaller=False, patience=0)
        self.over = False
        self.checkpoints: Checkpoints = run.checkpoints
        self._saved_at = time.monotonic()
        self._alarms: Mapping[str, Any] = {}

    def restore(self) -> None:
        """Put everything back to where an earlier attempt had come to, if it had."""
        if self.run.resumed is None:
            return
        state = self.run.resumed.state
        try:
            self.batches.load_state_dict(state["batches"])
        except ValueError as error:
            raise RecipeError(
                "run.data_changed",
                f"The data is not what it was when the checkpoint was written; records may have been erased. {error}",
                "Press Try again: a new run starts from the beginning with what is there now.",
            ) from error
        self._put_back(state)
        if self.loop is not None:
            self.loop.load_state_dict(state["loop"])
        if self.best is not None and state["best"]:
            self.best.value, self.best.step, self.best.since = state["best"]
        self.over = state["over"]
        self._alarms = state.get("alarms", {})
        if self.guard is not None and state.get("guard"):
            self.guard.load_state_dict(state["guard"])
        self.run.load_state_dict(state)
        rank = engine.distributed.here().rank
        engine.checkpoints.set_chance(state["chance"][rank if rank < len(state["chance"]) else 0])

    def watch(self, values: Mapping[str, float]) -> None:
        """Say in the log when a figure leaves its healthy range, and when it is back."""
        self._alarms, notices = engine.alarms.look(self._alarms, values)
        for notice in notices:
            self.run.log(notice.text, level="warning" if notice.kind == "begins" else "info")

    def heed(self) -> None:
        """End the training when its guard says so."""
        if self.guard is not None and self.guard.over and not self.over:
            self.over = True
            self.run.log(f"The training ends at step {self.batches.position}: {self.guard.over}", level="warning")

    def measured(self, values: Mapping[str, float]) -> None:
        """Look at an evaluation: is it the best so far, and is it time to end?"""
        if self.best is None:
            return
        if self.guarded and self.guard is not None:
            worth = self.guard.worth(values)
            if worth is not None and self.best.better(worth):
                self.best.value, self.best.step = worth, self.batches.position
            return
        if self.best.name not in values:
            self.run.log(
                f"The evaluation has no {self.best.name}, by which the best weights are chosen.", level="warning"
            )
            return
        value = float(values[self.best.name])
        if self.best.better(value):
            self.best.value, self.best.step, self.best.since = value, self.batches.position, 0
            return
        self.best.since += 1
        if self.best.patience and self.best.since >= self.best.patience:
            self.over = True
            self.run.log(
                f"{self.best.name} has not become better in {self.best.since} evaluations: the training ends at step "
                f"{self.batches.position}."
            )

    def due(self) -> bool:
        """Whether the state is to be saved now."""
        done = self.batches.position
        return (
            self.over
            or (self.best is not None and self.best.step == done)
            or (self.run.checkpoint_steps > 0 and done % self.run.checkpoint_steps == 0)
            or time.monotonic() - self._saved_at >= self.run.checkpoint_seconds
        )

    def save(self) -> None:
        """Write a checkpoint, together with all processes. A disk that has no room for it does not end the training,
        which may need none.
        """
        here = engine.distributed.here()
        state = {
            **self.run.state_dict(),
            "parts": {name: engine.distributed.whole(part.state_dict()) for name, part in self.parts.items()},
            "loop": self.loop.state_dict() if self.loop is not None else None,
            "batches": self.batches.state_dict(),
            "best": [self.best.value, self.best.step, self.best.since] if self.best is not None else None,
            "over": self.over,
            "alarms": self._alarms,
            "guard": self.guard.state_dict() if self.guard is not None else None,
            "chance": here.gather(engine.checkpoints.chance()),
        }
        try:
            if here.rank == 0:
                self.checkpoints.save(self.batches.position, state, best=self.best.step if self.best else None)
        except OSError as error:
            self.run.log(
                f"The checkpoint of step {self.batches.position} could not be written: {error}", level="warning"
            )
        self._saved_at = time.monotonic()

    def put_best_back(self) -> bool:
        """Give the parts the weights of the best evaluation, of a guarded training only when its guard ended it;
        whether they were given others.
        """
        if self.best is None or self.best.step in (None, self.batches.position):
            return False
        if self.guarded and self.guard is not None and not self.guard.over:
            return False
        try:
            state = self.checkpoints.at(self.best.step)
        except engine.checkpoints.Damaged as error:
            self.run.log(f"The best weights cannot be put back: {error} The last ones stay.", level="warning")
            return False
        self._put_back(state)
        self.run.log(f"The weights of step {self.best.step} are put back: {self.best.name} {self.best.value:.4g}.")
        return True

    def _put_back(self, state: Mapping[str, Any]) -> None:
        """Give the parts the weights of a checkpoint."""
        for name, part in self.parts.items():
            known = part.state_dict()
            part.load_state_dict(
                {key: engine.distributed.like(value, known.get(key)) for key, value in state["parts"][name].items()}
            )
