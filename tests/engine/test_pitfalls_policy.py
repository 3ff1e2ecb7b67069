"""What users of other trainers ran into, the half about samplers, references and going on: see test_pitfalls."""

import ast
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.pitfall_cases import ANSWERS, ASK, group, row, stir
from training.engine import attention, checkpoints, kl, objectives
from training.engine.chats import render_chat
from training.engine.logprobs import causal_model, completion_logprobs
from training.engine.loop import Batches, Loop
from training.engine.objectives import PairLogprobs, dpo, sft
from training.engine.packs import Row, lay_out, micro_batches
from training.engine.policy import Lora, Policy, log_ratios, reference_logprobs
from training.engine.rollouts import Sampling, sample
from training.engine.rollouts.sampling import TruncatedSampling

RECIPES = Path(__file__).resolve().parents[2] / "training" / "recipes"


@pytest.fixture
def policy(base):
    return Policy.load(base, lora=Lora(rank=4), seed=3)


# --- sampler and trainer


def test_the_samplers_log_probabilities_are_the_trainers_at_the_same_temperature(policy):
    """TRL 3867, 4772 (the ratio explodes with the temperature); verl 2953."""
    prompt = render_chat(policy.tokenizer, ASK, response=None).ids
    drawn = sample(policy, [prompt], 8, sampling=Sampling(max_tokens=30, temperature=0.7), seed=2)
    pack = lay_out([[one.row(str(place), prompt) for place, one in enumerate(drawn)]])
    policy.model.eval()
    with torch.no_grad():
        right, wrong = (completion_logprobs(policy.model, pack, temperature=t).values for t in (0.7, 1.0))
    ratio = (right - pack.flat("old")).exp()
    assert ((ratio - 1).abs() < 1e-3).all()
    assert (((wrong - pack.flat("old")).exp() - 1).abs() > 0.1).float().mean() > 0.1


def test_a_cut_distribution_is_refused_where_ratios_are_built_and_its_whole_is_kept(policy):
    """TRL 6789, 7269: with top_p the ratio is the mass that was kept, and half the tokens leave the band."""
    cut = Sampling(max_tokens=20, top_p=0.8)
    with pytest.raises(TruncatedSampling, match="top_p 0.8"):
        cut.require_whole()
    prompt = render_chat(policy.tokenizer, ASK, response=None).ids
    drawn = sample(policy, [prompt], 4, sampling=cut, seed=2)
    pack = lay_out([[one.row(str(place), prompt, old=False) for place, one in enumerate(drawn)]])
    with torch.no_grad():
        now = completion_logprobs(policy.model.eval(), pack).values
    whole = torch.tensor([value for one in drawn for value in one.full_logprobs])
    kept = torch.tensor([value for one in drawn for value in one.logprobs])
    assert torch.allclose(now, whole, atol=1e-3)
    assert ((now - kept).exp() < 0.9).any()


def test_half_precision_is_compared_with_itself_in_the_same_pack_and_a_gap_is_bounded(base):
    """verl 6280, 6789: a bf16 trainer at another batch shape moved 8 % of its tokens out of the band."""
    half = Policy.load(base, lora=Lora(rank=4), precision="bf16")
    stir(half.parameters)
    units = [group(half), row(half, "alone", "Perhaps.")]
    old = [completion_logprobs(half.model, pack).values.detach() for pack in micro_batches(units, tokens=400)]
    new = [completion_logprobs(half.model, pack).values for pack in micro_batches(units, tokens=400)]
    assert old[0].dtype == torch.float32  # the log-sum-exp is
    for then, now in zip(old, new, strict=True):
        assert torch.equal((now.detach() - then).exp(), torch.ones_like(then))
    sampler, trainer = torch.tensor([-1.0, -9.0, -1.0]), torch.tensor([-1.1, -1.0, -30.0])
    weights = objectives.truncated_importance(trainer, sampler, cap=2.0)
    assert weights.tolist() == pytest.approx([math.exp(-0.1), 2.0, 0.0], abs=1e-6)


def test_the_kl_in_a_loss_has_the_kls_own_gradient():
    """open-instruct 534; TRL 4637, 4638, 4967, 6503, 6594; OpenRLHF 1309; slime 1004; arXiv 2512.21852: k3 as a loss
    descends the other divergence. A policy of five words, its gradient known exactly.
    """
    made = torch.Generator().manual_seed(7)
    logits, sampler, reference = (torch.randn(5, generator=made, dtype=torch.float64) for _ in range(3))
    logits.requires_grad_()
    (exact,) = torch.autograd.grad(kl.of_logits(logits, reference), logits)
    ours, theirs = logits.log_softmax(-1), reference.log_softmax(-1)
    drawn = sampler.log_softmax(-1)

    def by_loss(**options):
        loss = objectives.grpo(
            logits.log_softmax(-1),
            drawn,
            torch.zeros(5, dtype=torch.float64),
            lay_out([Row(str(word), [1, word], [False, True]) for word in range(5)]).ragged,
            beta=1.0,
            reference=theirs,
            weights=5 * drawn.exp(),  # every word as often as the sampler says it
            **options,
        )
        return torch.autograd.grad(loss.total / loss.count, logits)[0]

    assert torch.allclose(by_loss(), exact, atol=1e-9)
    assert (by_loss(ratio_weighted=False) - exact).norm() > 0.05 * exact.norm()
    in_reward = -(kl.in_rewards(torch.zeros(5, dtype=torch.float64), ours, theirs, beta=1.0))
    (by_reward,) = torch.autograd.grad((ours.exp().detach() * in_reward * logits.log_softmax(-1)).sum(), logits)
    assert torch.allclose(by_reward, exact, atol=1e-9)


# --- the reference


def test_a_policy_that_continues_another_has_its_parent_for_a_reference_not_the_base(policy, base, tmp_path):
    """TRL 495, 1193, 3196, 5222, 6043, 6591; LLaMA-Factory 2910, 2196, 3198."""
    stir(policy.parameters)
    policy.save(tmp_path)
    child = Policy.load(base, parent=tmp_path)
    child.model.train()
    pair = [row(child, "chosen"), row(child, "rejected", ANSWERS[1])]
    pack = lay_out([pair])
    now = completion_logprobs(child.model, pack).values
    with child.as_reference() as reference:
        then = completion_logprobs(reference, pack).values
    assert torch.equal(kl.k3(now, then), torch.zeros_like(now))
    sides = {"chosen": torch.tensor([0]), "rejected": torch.tensor([1])}
    loss = dpo(PairLogprobs.of(now, pack.ragged, **sides), PairLogprobs.of(then, pack.ragged, **sides))
    assert loss.total.item() == torch.tensor(2.0).log().item()
    of_base = completion_logprobs(Policy.open(base, None).model, pack).values
    assert (then - of_base).abs().max() > 0.1  # it would have been another reference


@pytest.mark.parametrize("continues", [False, True])
def test_policy_and_reference_are_the_same_to_the_bit_before_the_first_step_and_not_after(base, tmp_path, continues):
    """NeMo-Aligner 227, 228 (another micro-batch); TRL 5542 (dropout while precomputing), 6443 (a reference that had
    become the policy).
    """
    policy = Policy.load(base, lora=Lora(rank=4, dropout=0.3))
    if continues:
        stir(policy.parameters)
        policy.save(tmp_path)
        policy = Policy.load(base, parent=tmp_path)
    policy.model.train()
    units = [group(policy)]
    for tokens in (160, 4096):
        known = reference_logprobs(policy, units, tokens=tokens)
        with policy.without_dropout() as still:
            own = [completion_logprobs(still, pack).values for pack in micro_batches(units, tokens=tokens)]
        assert torch.equal(torch.cat(own).detach(), torch.tensor([value for one in known for value in one]))
    assert log_ratios(policy, units[0], tokens=4096) == [0.0] * len(units[0])
    loop = Loop(policy.parameters, lr=1e-2, steps=2, schedule="constant", warmup=0)
    for _ in range(2):
        loop.forward_backward(
            micro_batches(units, tokens=4096), lambda pack: sft(completion_logprobs(policy.model, pack).values)
        )
        loop.optim_step()
    assert reference_logprobs(policy, units, tokens=4096) == known
    assert max(abs(gap) for gap in log_ratios(policy, units[0], tokens=4096)) > 0.1


def test_dropout_in_an_adapter_does_not_make_a_policy_differ_from_itself(base):
    """unsloth-zoo 832."""
    assert Lora().dropout == 0.0
    policy = Policy.load(base, lora=Lora(rank=4, dropout=0.5))
    stir(policy.parameters)
    policy.model.train()
    pack = lay_out([group(policy)])
    assert not torch.equal(*(completion_logprobs(policy.model, pack).values for _ in range(2)))
    with policy.without_dropout() as still:
        old, new = (completion_logprobs(still, pack).values for _ in range(2))
    loss = objectives.ppo(new, old, torch.ones_like(new))
    assert torch.equal((new - old).detach().exp(), torch.ones_like(old))
    assert loss.metrics["clipped/high"].item() == 0
    loss.total.backward()
    assert all(parameter.grad is not None for parameter in policy.parameters)


# --- one implementation


def test_a_loss_is_written_once_and_says_the_same_on_every_back_end(policy, monkeypatch):
    """TRL 7063 (class weights and label smoothing dropped on the fast path, thirteen restrictions); Liger 1082."""
    stir(policy.parameters)
    policy.model.eval()
    pairs = [
        [row(policy, f"{place} chosen"), row(policy, f"{place} rejected", text)]
        for place, text in enumerate(ANSWERS[1:3])
    ]
    sides = {"chosen": torch.tensor([0, 2]), "rejected": torch.tensor([1, 3])}

    def measure():
        pack = lay_out(pairs)
        now = completion_logprobs(policy.model, pack).values
        with policy.as_reference() as reference:
            then = completion_logprobs(reference, pack).values
        ours, theirs = (PairLogprobs.of(values, pack.ragged, **sides) for values in (now, then))
        loss = dpo(ours, theirs, label_smoothing=0.2, weights=torch.tensor([1.0, 0.25]))
        loss.total.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in policy.parameters])
        policy.model.zero_grad()
        return loss.total.item(), gradient

    def refuse(*_):
        raise AssertionError("the plain path was asked for")

    assert attention.takes_forests(causal_model(policy.model), policy.device)
    with monkeypatch.context() as patch:
        patch.setattr(attention, "plain_forward", refuse)
        loss, gradient = measure()
    monkeypatch.setattr(attention, "takes_forests", lambda *_: False)
    plain_loss, plain = measure()
    assert plain_loss == pytest.approx(loss, rel=1e-5)
    assert (plain - gradient).norm() < 1e-4 * gradient.norm()
    # No recipe writes a loss of its own: what is differentiated comes from `objectives`.
    own = {"logsigmoid", "binary_cross_entropy_with_logits", "cross_entropy", "nll_loss", "mse_loss", "log_softmax"}
    for file in RECIPES.glob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        called = {
            node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "attr")
        }
        assert not own & called, file.name


# --- going on


def test_a_run_that_was_stopped_goes_on_as_the_same_run(base, tmp_path):
    """transformers 17032, TRL 3247 (random numbers), ms-swift 9935 (seeded again after loading), open-instruct 1823 (a
    flag that did nothing), Megatron-Bridge 3832. Real kills are in tests/faults.
    """

    def begin(seed):
        torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
        policy = Policy.load(base, lora=Lora(rank=2, dropout=0.3))
        policy.model.train()
        loop = Loop(policy.parameters, lr=1e-2, steps=6, schedule="cosine", warmup=0.3, weight_decay=0.1)
        return policy, loop, Batches(group(policy), size=3, epochs=3, seed=5)

    def advance(policy, loop, batches, until):
        losses = []
        for batch in batches:
            noisy = [one for one in batch if random.random() + np.random.rand() < 1.1]
            loop.forward_backward(
                micro_batches(noisy, tokens=80), lambda pack: sft(completion_logprobs(policy.model, pack).values)
            )
            losses.append(loop.optim_step()["loss"])
            if batches.position == until:
                break
        return losses

    parts = begin(1)
    whole = advance(*parts, until=6)
    stopped = begin(1)
    first = advance(*stopped, until=2)
    names = ("policy", "loop", "batches")
    state = {name: part.state_dict() for name, part in zip(names, stopped, strict=True)}
    checkpoints.Checkpoints(tmp_path).save(2, {**state, "chance": checkpoints.chance()})
    again = begin(99)  # another process, with other random numbers
    _, found = checkpoints.Checkpoints(tmp_path).newest()
    for name, part in zip(names, again, strict=True):
        part.load_state_dict(found[name])
    checkpoints.set_chance(found["chance"])
    assert first + advance(*again, until=6) == whole
    ours, theirs = parts[0].state_dict(), again[0].state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
