import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine import credit, kl, objectives
from training.engine.ragged import Ragged

WORDS = 5
double = torch.float64


def policies(seed, *shape):
    """Logits of a policy, of the one that sampled, and of a reference: all different."""
    made = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, WORDS, generator=made, dtype=double) for _ in range(3)]


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def exact_gradient(logits, reference):
    logits = logits.clone().requires_grad_()
    return gradient(kl.of_logits(logits, reference).sum(), logits)


def expected(terms, sampler):
    """The exact expectation over the sampler's five words of a loss that is given for each of them."""
    return (sampler.softmax(-1).detach() * terms).sum()


def close(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def test_kl_of_two_known_distributions():
    even, uneven = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    assert float(kl.of_logits(even, uneven)) == pytest.approx(0.1438, abs=5e-5)
    assert float(kl.of_logits(even, even)) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_k1_and_k3_are_unbiased_and_k3_is_never_negative(seed):
    policy, _, reference = policies(seed)
    ours, theirs = policy.log_softmax(-1), reference.log_softmax(-1)
    exact = float(kl.of_logits(policy, reference))
    assert float(expected(kl.k1(ours, theirs), policy)) == pytest.approx(exact, abs=1e-9)
    assert float(expected(kl.k3(ours, theirs), policy)) == pytest.approx(exact, abs=1e-9)
    assert (kl.k3(ours, theirs) >= 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_k3_as_a_loss_has_the_gradient_of_kl_only_with_the_ratio(seed):
    policy, _, reference = policies(seed)
    policy.requires_grad_()
    ours, theirs = policy.log_softmax(-1), reference.log_softmax(-1)
    ratio = (ours - ours.detach()).exp()
    wanted = exact_gradient(policy.detach(), reference)
    weighted = gradient(expected(ratio * kl.k3(ours, theirs), policy), policy)
    assert close(weighted, wanted) < 1e-9
    # Without the ratio it descends the other divergence, KL(reference || policy).
    plain = gradient(expected(kl.k3(policy.log_softmax(-1), theirs), policy), policy)
    reverse = policy.detach().softmax(-1) - reference.softmax(-1)
    assert close(plain, reverse) < 1e-9
    assert close(plain, wanted) > 1e-3


def test_k1_as_a_loss_teaches_nothing_and_k2_the_right_thing():
    policy, _, reference = policies(1)
    policy.requires_grad_()
    theirs = reference.log_softmax(-1)
    nothing = gradient(expected(kl.k1(policy.log_softmax(-1), theirs), policy), policy)
    assert nothing.abs().max() < 1e-12
    right = gradient(expected(kl.k2(policy.log_softmax(-1), theirs), policy), policy)
    assert close(right, exact_gradient(policy.detach(), reference)) < 1e-9


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_grpos_kl_has_the_exact_gradient_also_on_another_samplers_words(seed):
    """The objective itself: every word a row, weighted by how often the sampler says it, advantages 0."""
    policy, sampler, reference = policies(seed)
    policy.requires_grad_()
    loss = objectives.grpo(
        policy.log_softmax(-1),
        sampler.log_softmax(-1),
        torch.zeros(WORDS, dtype=double),
        Ragged.of_lengths([1] * WORDS),
        beta=1.0,
        reference=reference.log_softmax(-1),
        weights=sampler.softmax(-1) * WORDS,
    )
    found = gradient(loss.total / loss.count, policy)
    assert close(found, exact_gradient(policy.detach(), reference)) < 1e-9


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_k1_in_the_reward_has_the_exact_gradient_of_a_whole_answers_kl(seed):
    """Two words, the second depends on the first: all 25 answers, weighted by their probability. That the first word
    leads to the second is what the ratio-weighted k3 leaves out.
    """
    made = torch.Generator().manual_seed(seed)
    first = torch.randn(WORDS, generator=made, dtype=double).requires_grad_()
    second = torch.randn(WORDS, WORDS, generator=made, dtype=double).requires_grad_()
    first_reference, second_reference = policies(seed + 1)[0], policies(seed + 2, WORDS)[0]

    def logprobs(one, two):
        lead = one.log_softmax(-1)[:, None].expand(WORDS, WORDS)
        return torch.stack([lead, two.log_softmax(-1)], dim=-1).flatten()  # 25 answers of two tokens

    ours, theirs = logprobs(first, second), logprobs(first_reference, second_reference)
    answers = Ragged.of_lengths([2] * WORDS**2)
    often = answers.sum(ours).exp().detach()
    whole = (answers.sum(ours).exp() * answers.sum(ours - theirs)).sum()
    wanted = torch.autograd.grad(whole, [first, second])

    rewards = kl.in_rewards(torch.zeros_like(ours), ours, theirs, beta=1.0)
    to_go = credit.returns_to_go(rewards, answers)
    ours = logprobs(first, second)
    loss = objectives.reinforce(ours, to_go * answers.spread(often), answers)
    found = torch.autograd.grad(loss.total, [first, second])
    for one, other in zip(found, wanted, strict=True):
        assert close(one, other) < 1e-9


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_exact_kl_by_chunks_is_exact_kl(chunk):
    made = torch.Generator().manual_seed(3)
    states, others = (torch.randn(7, 4, generator=made) for _ in range(2))
    head, fixed = (torch.nn.Linear(4, 11) for _ in range(2))
    states.requires_grad_()
    found = kl.exact(states, others, head=head, reference_head=fixed, temperature=0.7, chunk=chunk)
    wanted = kl.of_logits(head(states) / 0.7, fixed(others) / 0.7)
    assert torch.allclose(found, wanted, atol=1e-6)
    ours, theirs = (torch.autograd.grad(value.sum(), [states, *head.parameters()]) for value in (found, wanted))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_exact_kl_of_no_tokens_is_empty():
    head = torch.nn.Linear(4, 11)
    assert kl.exact(torch.zeros(0, 4), torch.zeros(0, 4), head=head, reference_head=head).shape == (0,)


def test_a_policy_that_is_its_reference_has_no_kl_whatever_the_estimator():
    logprobs = torch.tensor([-0.3, -2.0, -7.5])
    for estimator in kl.ESTIMATORS.values():
        assert estimator(logprobs, logprobs).tolist() == [0, 0, 0]
    rewards = torch.tensor([0.0, 0.0, 1.0])
    assert kl.in_rewards(rewards, logprobs, logprobs, beta=0.3).tolist() == rewards.tolist()


def test_an_improbable_word_does_not_make_k3_infinite():
    assert kl.k3(torch.tensor([-200.0]), torch.tensor([-0.1])).isfinite().all()


def test_the_answers_kl_is_taken_off_its_return():
    answers = Ragged.of_lengths([2, 1])
    ours, theirs = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.5, -2.5, -0.5])
    found = kl.in_returns(torch.tensor([1.0, 0.0]), ours, theirs, answers, beta=0.1)
    assert found.tolist() == pytest.approx([0.9, 0.0])


def test_the_weight_of_kl_follows_its_target_slowly():
    assert kl.adapt(0.2, 12.0, target=6, samples=12) == pytest.approx(0.200048, abs=1e-9)
    assert kl.adapt(0.2, 0.0, target=6, samples=12) == pytest.approx(0.2 * (1 - 0.2 * 12 / 10_000))
    assert kl.adapt(0.2, 6.0, target=6, samples=12) == 0.2
    assert kl.adapt(0.2, float("nan"), target=6, samples=12) == 0.2
