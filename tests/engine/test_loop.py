"""The loop: what is learned does not depend on how a step is split; schedules, clipping, and steps that fail."""

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from training import engine
from training.engine import distributed
from training.engine.loop import Loop, NotFinite, rate_at
from training.engine.objectives import Loss
from training.engine.packs import Row, micro_batches

LENGTHS = [9, 30, 14, 6, 41, 22, 17, 12]


@pytest.fixture(scope="module")
def policy(base):
    policy = engine.policy.Policy.load(base, lora=engine.policy.Lora(rank=4), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one in policy.parameters:  # an adapter that has learned something: both halves get gradients
            one.copy_(torch.randn(one.shape, generator=generator) * 0.05)
    return policy


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(1)
    return [
        Row(f"row {n}", torch.randint(5, 200, (length,), generator=generator).tolist(), [i > 3 for i in range(length)])
        for n, length in enumerate(LENGTHS)
    ]


def gradients(policy, splits, objective):
    """The gradients of one step, and its figures."""
    loop = Loop(policy.parameters, lr=0.0, steps=1, clip=0.0)
    found = []
    loop.optimizer.step = lambda: found.extend(one.grad.clone() for one in loop.trained)
    for packs in splits:
        loop.forward_backward(packs, objective)
    return found, loop.optim_step()


def by_tokens(policy):
    def objective(pack):
        return engine.objectives.sft(engine.logprobs.completion_logprobs(policy.model, pack).values)

    return objective


def by_rows(policy):
    def objective(pack):
        values = engine.logprobs.completion_logprobs(policy.model, pack).values
        return engine.objectives.loss.over_rows(-values, pack.ragged)

    return objective


@pytest.mark.parametrize("objective", [by_tokens, by_rows])
def test_every_split_of_a_step_gives_the_same_gradient(policy, rows, objective):
    def split(size):
        return [micro_batches(rows[n : n + size], tokens=1000) for n in range(0, 8, size)]

    whole, figures = gradients(policy, split(8), objective(policy))
    scale = max(one.abs().max().item() for one in whole)
    assert scale > 1e-3
    for name, splits in {
        "1 x 8": split(1),
        "2 x 4": split(2),
        "4 x 2": split(4),
        "token budget": [micro_batches(rows, tokens=45)],
        "other order": [micro_batches(rows[::-1], tokens=64)],
    }.items():
        parts, told = gradients(policy, splits, objective(policy))
        apart = max((one - other).abs().max().item() for one, other in zip(whole, parts, strict=True))
        assert apart < 1e-6 * max(1.0, scale), (name, apart)
        assert told == pytest.approx(figures, rel=1e-6), name


def weight(value=1.0):
    return nn.Parameter(torch.tensor([value]))


class Rows:
    """A pack that knows nothing but its rows' names."""

    def __init__(self, *names):
        self.rows = [Row(name, [0], [False]) for name in names]


def loss_of(total, count):
    return lambda pack: Loss(total(pack) if callable(total) else total, torch.tensor(float(count)))


def test_clipping_bounds_the_whole_gradient_and_tells_its_norm():
    one, other = weight(), weight()
    loop = Loop([one, other], lr=0.0, steps=1, clip=1.0)
    seen = []
    loop.optimizer.step = lambda: seen.extend([one.grad.item(), other.grad.item()])
    loop.forward_backward([Rows("a")], loss_of(6 * one.sum() + 8 * other.sum(), 2))
    assert loop.optim_step()["grad_norm"] == pytest.approx(5)
    assert seen == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.5 + 0.5 * math.cos(math.pi / 4), 0.5, 0.5 - 0.5 * math.cos(math.pi / 4)]),
    ],
)
def test_schedules_warm_up_and_come_down(schedule, expected):
    assert [rate_at(step, steps=6, warmup=2, schedule=schedule) for step in range(6)] == pytest.approx(expected)
    parameter = weight()
    loop = Loop([parameter], lr=0.2, steps=6, warmup=1 / 3, schedule=schedule)
    told = []
    for _ in range(6):
        loop.forward_backward([Rows("a")], loss_of(lambda pack: parameter.square().sum(), 1))
        told.append(loop.optim_step()["lr"])
    assert told == pytest.approx([0.2 * rate for rate in expected])


def test_groups_keep_their_own_peaks():
    one, other = weight(), weight()
    loop = Loop([{"params": [one], "lr": 1.0}, {"params": [other], "lr": 0.1}], lr=5.0, steps=2, warmup=0.0)
    loop.forward_backward([Rows("a")], loss_of(one.sum() + other.sum(), 1))
    assert loop.optim_step()["lr"] == 1.0
    assert 1 - one.item() == pytest.approx(1.0)  # Adam's first step is as long as the rate
    assert 1 - other.item() == pytest.approx(0.1)


def test_a_loss_that_is_no_number_names_the_records_of_its_batch():
    loop = Loop([parameter := weight()], lr=0.1, steps=1)
    loop.forward_backward([Rows("fine")], loss_of(lambda pack: parameter.sum(), 1))
    with pytest.raises(NotFinite, match=r"The loss is nan at step 1 for a, b, c, d, e and 2 more\."):
        loop.forward_backward([Rows(*"abcdefg")], loss_of(lambda pack: parameter.sum() * math.nan, 1))


def test_a_gradient_that_is_no_number_names_the_records_and_changes_nothing():
    loop = Loop([parameter := weight(0.0)], lr=0.1, steps=1)
    loop.forward_backward([Rows("answer 7")], loss_of(lambda pack: parameter.sqrt().sum(), 1))
    with pytest.raises(NotFinite, match=r"The gradient's norm is inf at step 1 for answer 7\."):
        loop.optim_step()
    assert parameter.item() == 0.0


def test_a_step_that_counts_nothing_changes_nothing_and_names_its_records():
    parameter = weight()
    loop = Loop([parameter], lr=0.1, steps=3, weight_decay=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's own, about a scheduler that runs before its optimiser
        loop.forward_backward([Rows("cut off", "empty")], loss_of(lambda pack: 0 * parameter.sum(), 0))
        told = loop.optim_step()
    assert told["loss"] == 0.0
    assert "grad_norm" not in told
    assert parameter.item() == 1.0
    assert loop.warnings == ["Step 1 had nothing to learn from and changed nothing: cut off, empty."]
    assert loop.state_dict()["optimizer"]["state"] == {}
    assert loop.step == 1


def test_after_loading_its_state_a_loop_takes_the_very_same_steps():
    def train(loop, parameter, steps):
        for _ in range(steps):
            loop.forward_backward([Rows("a")], loss_of(lambda pack: (parameter.square() - 0.3).square().sum(), 1))
            loop.optim_step()

    whole = weight()
    loop = Loop([whole], lr=0.1, steps=8, weight_decay=0.1)
    train(loop, whole, 3)
    state, at = loop.state_dict(), whole.item()
    state = {
        **state,
        "optimizer": {
            **state["optimizer"],
            "state": {0: {k: v.clone() for k, v in state["optimizer"]["state"][0].items()}},
        },
    }
    train(loop, whole, 5)
    other = weight(at)
    again = Loop([other], lr=0.1, steps=8, weight_decay=0.1)
    again.load_state_dict(state)
    train(again, other, 5)
    assert other.item() == whole.item()


def test_with_an_accelerator_a_loop_is_one_of_its_processes():
    alone = SimpleNamespace(process_index=0, num_processes=1, device="cpu")
    loop = Loop([parameter := weight()], lr=0.1, steps=1, warmup=0.0, accelerator=alone)
    assert (loop.processes.world, loop.processes.sharded) == (1, False)
    assert distributed.here() == distributed.ALONE
    loop.forward_backward([Rows("a")], loss_of(parameter.sum(), 1))
    assert loop.optim_step()["loss"] == 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here; this was never run")
def test_on_a_gpu_one_kernel_takes_the_whole_step():
    parameter = nn.Parameter(torch.ones(4, device="cuda"))
    loop = Loop([parameter], lr=0.1, steps=1, warmup=0.0)
    assert loop.optimizer.defaults["fused"] is True
    loop.forward_backward([Rows("a")], loss_of(parameter.sum(), 1))
    loop.optim_step()
    assert parameter.tolist() == pytest.approx([0.9] * 4)
