"""What holds for every objective: any split of a batch, any order of its rows, nothing to train on, no rewards."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.objective_cases import CASES, Batch, answers, parameters
from training.engine import credit, objectives
from training.engine.logprobs import completion_logprobs
from training.engine.objectives import PairLogprobs
from training.engine.packs import Row, lay_out
from training.engine.ragged import Ragged

POLICY_GRADIENTS = ["ppo", "grpo", "dr_grpo", "dapo", "gspo", "rloo", "reinforce"]
PER_TOKEN = ("features", "old", "reference", "advantages", "worth", "mask")
PAIRS = ["dpo", "dpo_hinge", "dpo_robust", "dpo_mean", "apo_zero", "ipo"]


def step(name, batches):
    """Loss, gradient and metrics of one optimiser step, as the loop makes them: sums, divided once."""
    theta = parameters()
    total, count, metrics = 0.0, 0.0, {}
    for units in batches:
        loss = CASES[name](Batch(units, theta))
        loss.total.backward()
        total, count = total + loss.total.item(), count + loss.count.item()
        for key, value in loss.metrics.items():
            assert not value.requires_grad
            metrics[key] = metrics.get(key, 0.0) + value.item()
    assert not loss.count.requires_grad
    return total / count, theta.grad / count, {key: value / count for key, value in metrics.items()}


def same(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-9)
    assert (one[1] - other[1]).norm() <= 1e-9 * other[1].norm()
    assert one[2] == pytest.approx(other[2], rel=1e-9)


def test_every_objective_of_the_table_is_tried():
    assert set(CASES) == set(objectives.OBJECTIVES)


@pytest.mark.parametrize("name", CASES)
def test_eight_at_once_are_two_fours_and_eight_ones(name):
    """Eight units of two answers each: what a micro-batch holds must not matter."""
    units = answers(16, seed=1)
    pairs = [units[start : start + 2] for start in range(0, 16, 2)]
    whole = step(name, [units])
    assert whole[1].norm() > 0
    same(step(name, [units[:8], units[8:]]), whole)
    same(step(name, pairs), whole)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), data=st.data())
@pytest.mark.parametrize("name", CASES)
def test_no_split_and_no_order_changes_the_gradient(name, seed, data):
    units = answers(12, seed=seed)
    pairs = data.draw(st.permutations([units[start : start + 2] for start in range(0, 12, 2)]))
    cuts = sorted(data.draw(st.sets(st.integers(1, 5))))
    parts = [pairs[start:end] for start, end in itertools.pairwise([0, *cuts, 6])]
    same(step(name, [list(itertools.chain(*part)) for part in parts]), step(name, [units]))


@pytest.mark.parametrize("name", ["sft", "unlikelihood", *POLICY_GRADIENTS, "value_loss"])
def test_a_batch_with_nothing_to_train_on_has_loss_0_and_gradient_0(name):
    units = [replace(answer, mask=torch.zeros_like(answer.mask)) for answer in answers(4, seed=2)]
    theta = parameters()
    loss = CASES[name](Batch(units, theta))
    loss.total.backward()
    assert (loss.total.item(), loss.count.item()) == (0, 0)
    assert theta.grad.tolist() == [0.0] * len(theta)
    assert all(value.item() == 0 for value in loss.metrics.values())


@pytest.mark.parametrize("name", POLICY_GRADIENTS + ["sft", "value_loss"])
def test_a_masked_answer_is_as_if_it_were_not_there(name):
    """In the numerator and in the denominator: a truncated answer, or one without a verdict."""
    units = answers(6, seed=3)
    masked = [replace(answer, mask=torch.zeros_like(answer.mask)) for answer in units[:2]]
    same(step(name, [[*masked, *units[2:]]]), step(name, [units[2:]]))


@pytest.mark.parametrize("name", ["ppo", "grpo", "dr_grpo", "dapo", "reinforce"])
def test_masked_tokens_are_as_if_they_were_not_there(name):
    """What a tool said: leaving its tokens out gives the same loss as masking them."""
    units = answers(6, seed=4)
    kept = [replace(answer, **{part: getattr(answer, part)[answer.mask] for part in PER_TOKEN}) for answer in units]
    same(step(name, [units]), step(name, [kept]))


@pytest.mark.parametrize("name", [*POLICY_GRADIENTS, "value_loss"])
def test_nan_in_masked_tokens_reaches_nothing(name):
    units = answers(4, seed=5)
    spoiled = [
        replace(answer, **{part: getattr(answer, part).masked_fill(~answer.mask, math.nan) for part in PER_TOKEN[1:5]})
        for answer in units
    ]
    same(step(name, [spoiled]), step(name, [units]))


@pytest.mark.parametrize("name", [*PAIRS, "kto", *POLICY_GRADIENTS, "value_loss"])
def test_only_the_policy_is_ever_differentiated(name):
    """References, old log-probabilities, advantages, returns and weights are numbers, whoever computed them."""
    fixed = ("old", "reference", "advantages", "worth")
    units = [
        replace(answer, **{part: getattr(answer, part).clone().requires_grad_() for part in fixed})
        for answer in answers(10, seed=11)
    ]
    theta = parameters()
    CASES[name](Batch(units, theta)).total.backward()
    assert theta.grad.norm() > 0
    assert all(getattr(answer, part).grad is None for answer in units for part in fixed)


@pytest.mark.parametrize("name", PAIRS)
def test_a_policy_that_is_its_reference_starts_where_the_paper_says(name):
    batch = Batch(answers(6, seed=6), parameters())
    pairs = batch.pairs(batch.logprobs)
    loss = getattr(objectives, name)(pairs, pairs, beta=0.1)
    start = {"dpo_hinge": 1.0, "apo_zero": 1.0, "ipo": 25.0}.get(name, math.log(2))
    assert (loss.total / loss.count).item() == pytest.approx(start)
    assert loss.metrics["rewards/margin"].item() == 0


def test_kto_starts_at_one_half():
    sums = torch.tensor([-3.0, -1.0, -7.0])
    loss = objectives.kto(sums, sums, torch.tensor([True, False, True]), zero_point=0.0)
    assert float(loss.total / loss.count) == 0.5


@pytest.mark.parametrize("name", ["dpo", "dpo_hinge", "dpo_mean", "apo_zero"])
def test_without_beta_there_is_nothing_to_learn(name):
    theta = parameters()
    batch = Batch(answers(6, seed=7), theta)
    loss = getattr(objectives, name)(batch.pairs(batch.logprobs), batch.pairs(batch.of_tokens("reference")), beta=0.0)
    loss.total.backward()
    assert theta.grad.abs().max() == 0


def test_a_small_beta_makes_dpo_proportional_to_the_log_ratio():
    theta = parameters()
    batch = Batch(answers(6, seed=7), theta)
    reference = batch.pairs(batch.of_tokens("reference"))
    small = torch.autograd.grad(objectives.dpo(batch.pairs(batch.logprobs), reference, beta=1e-6).total, theta)[0]
    pairs = batch.pairs(batch.logprobs)
    straight = torch.autograd.grad((pairs.rejected - pairs.chosen).sum(), theta)[0]
    assert torch.allclose(small / 0.5e-6, straight, rtol=1e-4)


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_equal_rewards_give_no_gradient(name):
    theta = parameters()
    batch = Batch(answers(4, seed=8), theta)
    advantages = credit.group_relative(torch.full((1, 4), 0.3, dtype=torch.float64)).flatten()
    of_rows = name in ("gspo", "rloo")
    given = advantages if of_rows else batch.ragged.spread(advantages)
    old = () if name == "reinforce" else (batch.of_tokens("old"),)
    layout = () if name in ("ppo", "dapo") else (batch.ragged,)
    options = {"length": 16} if name == "dr_grpo" else {}
    getattr(objectives, name)(batch.logprobs, *old, given, *layout, **options).total.backward()
    assert theta.grad.tolist() == [0.0] * len(theta)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "ppo", "gspo", "rloo"])
def test_a_batch_used_once_has_ratio_1_and_reinforces(name):
    """Without old log-probabilities, and with the batch's own: ratio 1 to the last bit, nothing clipped, and the
    gradient of the likelihood weighted by the advantage.
    """
    theta = parameters()
    batch = Batch(answers(4, seed=9), theta)
    of_rows = name in ("gspo", "rloo")
    given = batch.verdicts - 0.5 if of_rows else batch.of_tokens("advantages")
    layout = () if name == "ppo" else (batch.ragged,)
    options = {"length": 16} if name == "dr_grpo" else {}
    found = []
    for old in (None, batch.logprobs.detach()):
        loss = getattr(objectives, name)(batch.logprobs, old, given, *layout, **options)
        found.append(torch.autograd.grad(loss.total, theta)[0])
        assert (loss.metrics["ratio"] / loss.count).item() == 1
        assert (loss.metrics["clipped/low"] + loss.metrics["clipped/high"]).item() == 0
    assert found[0].tolist() == found[1].tolist()
    per_token = -(batch.ragged.spread(given) if of_rows else given) * batch.logprobs
    total = {
        "rloo": batch.ragged.sum,
        "gspo": batch.ragged.mean,
        "grpo": batch.ragged.mean,
    }.get(name, torch.sum)(per_token)
    assert torch.allclose(found[0], torch.autograd.grad(total.sum(), theta)[0])


def test_a_log_ratio_of_hundreds_stays_finite():
    now = torch.tensor([-1.0, -900.0], requires_grad=True)
    loss = objectives.ppo(now, torch.tensor([-900.0, -1.0]), torch.tensor([-1.0, 1.0]))
    loss.total.backward()
    assert loss.total.isfinite()
    assert now.grad.isfinite().all()


def test_a_kl_without_a_reference_is_refused():
    with pytest.raises(ValueError, match="give the reference"):
        objectives.grpo(torch.zeros(2), None, torch.zeros(2), Ragged.of_lengths([2]), beta=0.1)


def test_certain_and_impossible_tokens_have_finite_gradients():
    for objective in (objectives.sft, objectives.unlikelihood):
        logprobs = torch.tensor([0.0, -1e-9, -0.6931, -90.0], requires_grad=True)
        objective(logprobs).total.backward()
        assert logprobs.grad.isfinite().all()
    certain = torch.tensor([0.0], requires_grad=True)
    one = torch.ones(1)
    objectives.orpo(PairLogprobs(certain, torch.tensor([-3.0]), one, one)).total.backward()
    assert certain.grad.isfinite().all()


def test_an_empty_answer_has_mean_0_and_no_gradient():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    pairs = PairLogprobs.of(logprobs, Ragged.of_lengths([2, 0]), chosen=torch.tensor([1]), rejected=torch.tensor([0]))
    assert pairs.chosen_mean.item() == 0
    objectives.simpo(pairs).total.backward()
    assert logprobs.grad.isfinite().all()


def test_a_sum_of_two_losses_over_different_counts_does_not_depend_on_the_split():
    """Pairs beside tokens: the exchange is the whole step's, so halves add up to the whole."""
    units, theta = answers(8, seed=10), parameters()
    tokens = sum(len(answer.features) for answer in units[::2])

    def total(part):
        batch = Batch(part, theta)
        pairs = batch.pairs(batch.logprobs)
        chosen = batch.ragged.spread(torch.arange(len(part)) % 2 == 0)
        likelihood = objectives.sft(batch.logprobs, weights=chosen)
        both = objectives.simpo(pairs).plus(likelihood, weight=0.5, exchange=4 / tokens)
        return both.total.item(), both.count.item()

    whole, halves = total(units), [total(units[:4]), total(units[4:])]
    assert sum(half[0] for half in halves) == pytest.approx(whole[0])
    assert sum(half[1] for half in halves) == whole[1] == 4


class Parrot(torch.nn.Module):
    """A causal model of a few hundred parameters, as far as the engine asks: each place sees the mean of what came
    before it. `states` keeps the hidden states for their gradients.
    """

    class config:  # noqa: N801 - as transformers spells it
        pass

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(13, 8)
        self.head = torch.nn.Linear(8, 13)

    def get_decoder(self):
        return self

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, position_ids, use_cache):
        self.states = self.words(input_ids).cumsum(1) / (position_ids + 1)[..., None]
        self.states.retain_grad()
        return type("Output", (), {"last_hidden_state": self.states})


PROMPT = [1, 2, 3, 4]
ROWS = [
    Row("a", [*PROMPT, 5, 6, 7], [False] * 4 + [True] * 3),
    Row("b", [*PROMPT, 8, 9], [False] * 4 + [True] * 2),
    Row("c", [*PROMPT[:2], 3, 10, 11], [False, False, True, False, True]),  # a tool spoke in between
    Row("d", [*PROMPT[:2], 12], [False, False, True]),
]


@pytest.mark.parametrize("name", ["sft", "dpo", "grpo", "rloo", "reinforce"])
def test_prompt_tokens_never_get_a_gradient(name):
    """Only places that predict a trained token are pulled at, and what stands in a prompt is nobody's target."""
    model = Parrot()
    pack = lay_out(ROWS)
    logprobs = completion_logprobs(model, pack).values
    ragged = Ragged(pack.row_of, len(pack.rows))
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
    pairs = PairLogprobs.of(logprobs, ragged, chosen=torch.tensor([0, 2]), rejected=torch.tensor([1, 3]))
    zeros = torch.zeros(2)
    loss = {
        "sft": lambda: objectives.sft(logprobs),
        "dpo": lambda: objectives.dpo(pairs, replace(pairs, chosen=zeros, rejected=zeros)),
        "grpo": lambda: objectives.grpo(logprobs, None, ragged.spread(advantages), ragged),
        "rloo": lambda: objectives.rloo(logprobs, None, advantages, ragged),
        "reinforce": lambda: objectives.reinforce(logprobs, ragged.spread(advantages), ragged),
    }[name]()
    loss.total.backward()
    pulled = model.states.grad.abs().sum(-1).flatten().nonzero()[:, 0]
    assert pulled.tolist() == pack.rectangle.home[pack.before].tolist()


def test_a_reward_on_one_token_moves_no_other():
    """Text2Grad's marks alone (no discount, no KL, no critic, no whitening): the gradient of the logits at every other
    place is exactly 0.
    """
    made = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 13, generator=made).requires_grad_()
    ids = torch.tensor([3, 1, 4, 1, 5, 9])
    ragged = Ragged.of_lengths([4, 2])
    marks = torch.tensor([0, 0, -1.0, 0, 0, 0])
    advantages, _ = credit.gae(marks, torch.zeros(6), ragged, gamma=0.0)
    logprobs = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    objectives.ppo(logprobs, None, advantages).total.backward()
    assert (logits.grad != 0).any(-1).tolist() == [False, False, True, False, False, False]
