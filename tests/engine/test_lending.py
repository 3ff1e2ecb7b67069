"""A reward model beside the policy, on one copy of the base: the scores are the same, and so is the policy."""

import json

import pytest
import torch

from training.engine.heads import ScoreHead, TokenHead
from training.engine.lending import Lent, lend
from training.engine.logprobs import completion_logprobs
from training.engine.packs import Row, lay_out
from training.engine.policy import Lora, Policy
from training.engine.reward_scoring import RewardScorer
from training.engine.scoring import Reading, SpanScorer, card_of
from training.engine.tokens import render_chat

ASK = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]
ITEMS = [{"messages": ASK, "context": [], "text": text} for text in ("Open the flap.", "No.", "Ask 💧 somebody.")]


def stirred(head):
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


def artifact(folder, base, kind, *, depth=1.0, lora=None):
    """A reward model as a run leaves it."""
    policy = Policy.load(base, lora=lora or Lora(rank=2), depth=depth, seed=8)
    torch.manual_seed(1)
    for parameter in policy.parameters:
        torch.nn.init.normal_(parameter, std=0.05)
    policy.save(folder)
    folder.mkdir(exist_ok=True)
    width = policy.model.config.hidden_size
    card = {"kind": kind, "base": str(base), "depth": depth}
    if kind == "reward_model":
        stirred(ScoreHead(width)).save(folder / "head.safetensors")
        card |= {"reading": {"passage_tokens": 0, "max_tokens": 256}}
    else:
        stirred(TokenHead(width, ["bad", "neutral", "good"])).save(folder / "head.safetensors")
        card |= {"labels": [], "reading": card_of(Reading(echo=False))}
    (folder / "redpen.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def policy(base):
    found = Policy.load(base, lora=Lora(rank=4, dropout=0.2), adapters=("critic",), seed=3)
    for name in ("default", "critic"):
        for parameter in found.parameters_of(name):
            torch.nn.init.normal_(parameter, std=0.05)
    found.model.train()
    return found


def own_words(policy):
    chat = render_chat(policy.tokenizer, ASK, response="Open the flap.")
    with policy.without_dropout() as model, torch.no_grad():
        return completion_logprobs(model, lay_out([Row("r", chat.ids, chat.completion_mask)])).values


def bytes_held(model):
    return sum({p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}.values())


def assert_alike(one, other):
    """The same but for the roundings of layers that are computed whole beside an adapter."""
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        for key in other:
            assert_alike(one[key], other[key])
    elif isinstance(other, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_alike(*pair)
    else:
        assert one == (pytest.approx(other, rel=1e-4, abs=1e-5) if isinstance(other, float) else other)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("reward_model", {}),
        ("span_reward_model", {}),
        ("span_reward_model", {"depth": 0.67}),
        ("span_reward_model", {"depth": 0.67, "lora": Lora(rank=2, last=0.5)}),
        ("span_reward_model", {"depth": 0.34, "lora": Lora(rank=0)}),
    ],
)
def test_it_scores_beside_the_policy_what_it_scores_on_its_own(policy, base, tmp_path, kind, options):
    folder = artifact(tmp_path / "model", base, kind, **options)
    scorer = RewardScorer if kind == "reward_model" else SpanScorer
    alone = scorer.load(folder).score_many(ITEMS)
    words, held = own_words(policy), bytes_held(policy.model)
    beside = scorer.load(folder, beside=policy)
    assert isinstance(beside.policy, Lent)
    assert_alike(beside.score_many(ITEMS), alone)
    assert torch.equal(own_words(policy), words)
    adapters = sum(p.nbytes for name, p in policy.model.named_parameters() if ".lent0." in name)
    assert bytes_held(policy.model) == held + adapters  # nothing of the base came twice
    assert adapters < held / 10


def test_the_policy_learns_on_as_if_nothing_stood_beside_it(policy, base, tmp_path):
    state = policy.state_dict()
    scorer = RewardScorer.load(artifact(tmp_path / "model", base, "reward_model"), beside=policy)
    scorer.score_many(ITEMS)
    assert policy.model.training
    assert list(policy.state_dict()) == list(state)
    assert policy.model.active_adapters == ["default"]
    assert len(policy.parameters_of("critic")) == len(policy.parameters) > 0
    with policy.as_reference() as reference:
        assert not reference.training
    second = RewardScorer.load(artifact(tmp_path / "other", base, "reward_model"), beside=policy)
    assert second.score_many(ITEMS) == scorer.score_many(ITEMS)


def test_on_another_base_or_in_another_precision_it_keeps_a_copy_of_its_own(policy, base, tmp_path):
    folder = artifact(tmp_path / "model", base, "reward_model")
    assert lend(policy, folder, base=tmp_path) is None
    assert lend(policy, folder, base=base, precision="bf16") is None
    assert lend(Policy.load(base, full=True), folder, base=base) is None  # its base is what moves
    assert isinstance(lend(policy, folder, base=base), Lent)
    card = json.loads((folder / "redpen.json").read_text())
    (folder / "redpen.json").write_text(json.dumps({**card, "precision": "bf16"}))
    assert isinstance(RewardScorer.load(folder, beside=policy).policy, Policy)


def test_an_error_while_scoring_gives_the_policy_back(policy, base, tmp_path):
    lent = lend(policy, artifact(tmp_path / "m", base, "span_reward_model", depth=0.34), base=base, depth=0.34)
    words = own_words(policy)
    with pytest.raises(RuntimeError, match="in the middle"):
        with lent.scoring():
            raise RuntimeError("in the middle")
    assert torch.equal(own_words(policy), words)
    assert policy.model.training
