"""The engine against plain transformers, one row after the other, in double precision: to 1e-9, not to 1e-4.

What is left of a difference between packed and plain in float32 is then rounding and nothing else.
"""

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tests.engine.parity import ours
from tests.engine.parity.rollouts import freeze, rows_of
from tests.engine.parity.rows import pair_rows
from training.engine import objectives
from training.engine.attention import takes_forests
from training.engine.logprobs import causal_model, completion_logprobs
from training.engine.packs import micro_batches
from training.engine.ragged import Ragged


@pytest.fixture(scope="module")
def exact(start):
    """The policy in float64, its norms too: transformers computes those in float32 whatever the model is."""
    policy = ours.make_policy(start)
    policy.model.double()
    for module in policy.model.modules():
        if isinstance(module, LlamaRMSNorm):
            module.forward = lambda states, norm=module: (
                norm.weight * states * (states.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
            )
    assert takes_forests(causal_model(policy.model), torch.device("cpu"))  # or both sides would be the plain path
    return policy


def row_by_row(model, rows):
    """Plain transformers: one forward pass for each row, all its logits, their log-softmax."""
    found = []
    for row in rows:
        logits = model(input_ids=torch.tensor([list(row.ids)])).logits[0, :-1].log_softmax(-1)
        chosen = logits.gather(-1, torch.tensor(list(row.ids[1:]))[:, None])[:, 0]
        found.append(chosen[torch.tensor(row.trained[1:])])
    return torch.cat(found), Ragged.of_lengths([len(values) for values in found])


def gradients(policy, total):
    policy.model.zero_grad()
    total.backward()
    return [parameter.grad.clone() for parameter in policy.parameters]


def assert_exact(policy, mine, theirs):
    assert float(mine) == pytest.approx(float(theirs), rel=1e-9)
    for one, other in zip(gradients(policy, mine), gradients(policy, theirs), strict=True):
        assert float((one - other).abs().max()) <= 1e-9 * float(other.abs().max())


def test_log_probs_and_a_dpo_step_of_forests_are_those_of_plain_rows(exact, tokenizer):
    units = pair_rows(tokenizer)
    rows = [row for unit in units for row in unit]
    first = torch.arange(0, len(rows), 2)

    def loss(values, ragged, then, then_ragged, chosen):
        sides = {"chosen": chosen, "rejected": chosen + 1}
        of = objectives.PairLogprobs.of
        return objectives.dpo(of(values, ragged, **sides), of(then, then_ragged, **sides), beta=0.3).total

    now, ragged = row_by_row(exact.model, rows)
    with exact.as_reference() as model:
        then, _ = row_by_row(model, rows)
    theirs = loss(now, ragged, then, ragged, first)

    mine = torch.zeros((), dtype=torch.float64)
    for pack in micro_batches(units, tokens=128):
        assert pack.forest.tokens < sum(len(row.ids) for row in pack.rows)  # something is shared
        values = completion_logprobs(exact.model, pack).values
        expected, _ = row_by_row(exact.model, pack.rows)
        assert float((values - expected).abs().max()) < 1e-9
        mine = mine + loss(
            values,
            pack.ragged,
            ours.reference_logprobs(exact, pack),
            pack.ragged,
            torch.tensor([unit[0] for unit in pack.units]),
        )
    assert_exact(exact, mine, theirs)


def test_a_grpo_step_of_forests_is_that_of_plain_rows(exact, tokenizer):
    units = rows_of(freeze(tokenizer))
    rows = [row for unit in units for row in unit]
    advantages = dict(zip([row.name for row in rows], torch.randn(len(rows), dtype=torch.float64), strict=True))

    def loss(values, ragged, names):
        of_tokens = ragged.spread(torch.stack([advantages[name] for name in names]))
        return objectives.grpo(values, values.detach() - 0.1, of_tokens, ragged).total

    values, ragged = row_by_row(exact.model, rows)
    theirs = loss(values, ragged, [row.name for row in rows])
    packs = list(micro_batches(units, tokens=64))
    assert len(packs) > 1
    mine = sum(
        loss(completion_logprobs(exact.model, pack).values, pack.ragged, [row.name for row in pack.rows])
        for pack in packs
    )
    assert_exact(exact, mine, theirs)
