"""A head fitted to the end: the weights are the problem's, the penalty is the one that answers left out ask for."""

import pytest
import torch

from training.engine.fitting import Example, best, choose_penalty, fit
from training.engine.heads import TokenHead
from training.engine.objectives import any_of, token_classification

MOODS = ["bad", "neutral", "good"]


def cost(scores, targets):
    return token_classification(scores, targets)


def examples(head, *, answers=12, tokens=20, signal=1.5, seed=0):
    """Answers whose bad tokens lie on one side of the first input, more or less."""
    chance = torch.Generator().manual_seed(seed)
    found = []
    for number in range(answers):
        inputs = torch.randn(tokens, head.linear.in_features, generator=chance)
        bad = torch.rand(tokens, generator=chance) < torch.sigmoid(signal * inputs[:, 0])
        targets = torch.stack([bad.float(), 1 - bad.float(), torch.zeros(tokens)], 1)
        found.append(Example(number // 2, inputs, targets))
    return found


def test_the_weights_are_where_the_penalised_loss_is_flat():
    head = TokenHead(6, MOODS)
    learned = examples(head)
    fit(head, learned, cost, penalty=0.01)
    inputs, targets = torch.cat([one.inputs for one in learned]), torch.cat([one.targets for one in learned])
    size = (inputs - inputs.mean(0)).square().sum(1).mean().sqrt()
    weight = head.linear.weight.detach().clone().requires_grad_()
    bias = head.linear.bias.detach().clone().requires_grad_()
    loss = cost(inputs @ weight.T + bias, targets)
    (loss.total / loss.count + 0.01 / 2 * (weight * size / 0.5).square().sum()).backward()
    assert weight.grad.abs().max() < 1e-3
    assert bias.grad.abs().max() < 1e-3
    assert head.linear.weight[0, 0] > 3 * head.linear.weight[0, 1:].abs().max()


def test_noise_asks_for_a_stronger_penalty_than_signal():
    head = TokenHead(30, MOODS)
    chosen = {
        signal: best(list(choose_penalty(head, examples(head, signal=signal, seed=3), cost))).penalty
        for signal in (0.0, 8.0)
    }
    assert chosen[0.0] > chosen[8.0]


def test_answers_to_one_prompt_are_held_out_together():
    head = TokenHead(4, MOODS)
    learned = [Example("the only prompt", one.inputs, one.targets) for one in examples(head)]
    with pytest.raises(ValueError, match="one prompt"):
        list(choose_penalty(head, learned, cost))


def test_the_same_answers_give_the_same_weights_whatever_stood_in_the_head():
    heads = TokenHead(6, MOODS), TokenHead(6, MOODS)
    torch.nn.init.normal_(heads[1].linear.weight)
    for head in heads:
        fit(head, examples(head), cost, penalty=0.003)
    assert torch.equal(heads[0].linear.weight, heads[1].linear.weight)


def test_outputs_fitted_apart_leave_each_other_alone_and_each_has_its_own_penalty():
    head = TokenHead(6, [*MOODS, "Redundant"])
    moods = examples(head)
    labels = [one.of(slice(1)) for one in moods]
    fit(head, moods, cost, penalty=0.003, outputs=slice(3))
    before = head.linear.weight[:3].clone()
    fit(head, labels, any_of, penalty=0.003, outputs=slice(3, 4))
    weak = head.linear.weight[3].norm().item()
    fit(head, labels, any_of, penalty=0.1, outputs=slice(3, 4))
    assert head.linear.weight[3].norm().item() < 0.7 * weak
    assert torch.equal(head.linear.weight[:3], before)
