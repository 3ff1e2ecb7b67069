"""One copy of the base: adapter, reference, heads, and what comes back from disk."""

import json
import subprocess
import sys

import pytest
import torch

from training.engine.heads import ScoreHead, TokenHead, row_scores, token_scores, values
from training.engine.logprobs import completion_logprobs
from training.engine.packs import Row, lay_out
from training.engine.policy import Lora, Policy, log_ratios, reference_logprobs
from training.engine.rollouts import Sampling, sample
from training.engine.scoring import Reading, SpanScorer, card_of, disjoint, reward, row_of
from training.engine.tokens import render_chat

ASK = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]
ANSWER = "Open the flap. Pour in fresh water 💧 please."


@pytest.fixture
def policy(base):
    return Policy.load(base, lora=Lora(rank=4), seed=3)


def row(policy, name="r", answer=ANSWER):
    chat = render_chat(policy.tokenizer, ASK, response=answer)
    return Row(name, chat.ids, chat.completion_mask)


def train_a_little(policy, steps=3):
    optimizer = torch.optim.Adam(policy.parameters, lr=0.01)
    for _ in range(steps):
        (-completion_logprobs(policy.model, lay_out([row(policy)])).values.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_before_the_first_step_the_policy_is_its_reference_exactly(policy):
    assert log_ratios(policy, [row(policy), row(policy, answer="No.")], tokens=512) == [0.0, 0.0]


def test_a_policy_that_continues_another_has_that_one_as_its_reference(policy, base, tmp_path):
    """Others took the bare base for the reference, silently (TRL 1193, 3196, 5222)."""
    train_a_little(policy)
    moved = log_ratios(policy, [row(policy)], tokens=512)
    assert moved[0] > 0.1
    policy.save(tmp_path)
    child = Policy.load(base, parent=tmp_path)
    assert log_ratios(child, [row(child)], tokens=512) == [0.0]
    plain = completion_logprobs(Policy.open(base, None).model, lay_out([row(child)])).values.sum()
    with child.as_reference() as reference:
        parent = completion_logprobs(reference, lay_out([row(child)])).values.sum()
    assert (parent - plain).item() == pytest.approx(moved[0], abs=1e-3)
    train_a_little(child)
    assert log_ratios(child, [row(child)], tokens=512)[0] > 0.1


def test_what_is_trained_comes_back_by_name_bit_for_bit(policy, base):
    train_a_little(policy)
    state = policy.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    assert kept
    assert all("lora_" in name for name in kept)
    train_a_little(policy)
    assert all(torch.equal(state[name], kept[name]) for name in kept)  # copies: training goes on without them
    assert not all(torch.equal(policy.state_dict()[name], kept[name]) for name in kept)
    other = Policy.load(base, lora=Lora(rank=4), seed=8)
    for one in (policy, other):
        one.load_state_dict(kept)
        assert all(torch.equal(one.state_dict()[name], kept[name]) for name in kept)
    with pytest.raises(ValueError, match="not of this policy"):
        Policy.load(base, lora=Lora(rank=2)).load_state_dict(kept)


def test_reference_log_probabilities_are_the_policys_own_to_the_bit_before_it_learns(policy):
    pair = [row(policy, "a"), row(policy, "b", answer="No.")]
    units = [pair, row(policy, "c", answer="Perhaps, if the tank is empty.")]
    found = reference_logprobs(policy, units, tokens=512)
    assert [len(one) for one in found] == [sum(one.trained) for one in (*pair, units[1])]
    for one, values_ in zip([*pair, units[1]], found, strict=True):
        plain = completion_logprobs(policy.model, lay_out([one])).values.tolist()
        assert values_ == pytest.approx(plain, abs=1e-5)
    train_a_little(policy)
    assert reference_logprobs(policy, units, tokens=512) == found


def test_the_reference_leaves_no_trace(policy):
    policy.model.train()
    trained = [id(parameter) for parameter in policy.parameters]
    with policy.as_reference() as reference:
        assert not reference.training
        assert not torch.is_grad_enabled()
    assert policy.model.training
    assert [id(parameter) for parameter in policy.parameters] == trained


def test_only_the_adapter_is_trained_and_the_same_seed_draws_the_same_one(base):
    first, same, other = (Policy.load(base, lora=Lora(rank=4), seed=seed) for seed in (1, 1, 2))
    names = [name for name, parameter in first.model.named_parameters() if parameter.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters, same.parameters, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters, other.parameters, strict=True))


def test_a_classifier_may_read_fewer_layers_and_adapt_only_the_upper_ones(base, tmp_path):
    shallow = Policy.load(base, lora=Lora(rank=2, last=0.5), depth=0.67)
    assert len(shallow.model.get_base_model().get_decoder().layers) == 2
    assert {name.split(".layers.")[1][0] for name, p in shallow.model.named_parameters() if p.requires_grad} == {"1"}
    for parameter in shallow.parameters:
        torch.nn.init.normal_(parameter, std=0.1)
    shallow.save(tmp_path)
    again = Policy.open(base, tmp_path, depth=0.67)
    shallow.model.eval()
    values = [completion_logprobs(one.model, lay_out([row(one)])).values for one in (shallow, again)]
    assert torch.equal(*values)


def test_a_base_in_half_precision_scores_nearly_the_same(base):
    full, half = (Policy.open(base, None, precision=precision) for precision in ("fp32", "bf16"))
    values = [completion_logprobs(one.model, lay_out([row(one)])).values for one in (full, half)]
    assert values[1].dtype == torch.float32
    assert not torch.equal(*values)
    assert torch.allclose(*values, atol=0.5)


def test_a_head_and_its_adapter_come_back_bit_for_bit_in_a_fresh_process(policy, base, tmp_path):
    train_a_little(policy)
    head = TokenHead(policy.model.config.hidden_size, ["bad", "neutral", "good", "rude_phrase"])
    torch.manual_seed(0)
    torch.nn.init.normal_(head.linear.weight)
    policy.save(tmp_path)
    head.save(tmp_path / "head.safetensors")
    card = {"base": str(base), "labels": [{"key": "rude_phrase"}], "reading": card_of(Reading())}
    (tmp_path / "redpen.json").write_text(json.dumps({"kind": "span_reward_model", **card}))
    scorer = SpanScorer(policy, head.eval(), labels=["rude_phrase"], reading=Reading())
    here = scorer.score(ASK, [], ANSWER)
    program = (
        "import sys, json, torch; torch.set_num_threads(1)\n"
        "from training.engine.scoring import SpanScorer\n"
        f"print(json.dumps(SpanScorer.load({str(tmp_path)!r}).score({ASK!r}, [], {ANSWER!r})))"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(there.splitlines()[-1]) == here
    assert "".join(token["text"] for token in disjoint(here)) == ANSWER


def test_the_classifier_is_read_at_the_token_itself(policy):
    """Not at the token before it: a head on one position sees that token's own state."""
    head = TokenHead(policy.model.config.hidden_size, ["bad", "neutral", "good"])
    torch.nn.init.eye_(head.linear.weight)
    policy.model.eval()
    one = row(policy)
    found = token_scores(policy.model, head, lay_out([one]))
    states = policy.model.get_base_model().model(torch.tensor([one.ids])).last_hidden_state[0]
    expected = head(states[torch.tensor(one.trained)])
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_row_is_scored_at_its_last_token_by_index(policy):
    """Not at the first token that looks like padding: this row has the stop token inside (transformers 35352)."""
    head = ScoreHead(policy.model.config.hidden_size, ["helpful", "safe"])
    torch.nn.init.normal_(head.linear.weight)
    policy.model.eval()
    rows = [row(policy, "long"), row(policy, "short", answer="No.")]
    assert rows[0].ids.count(policy.tokenizer.eos_token_id) > 1
    with torch.no_grad():
        found = row_scores(policy.model, head, lay_out(rows))
        for one, scores in zip(rows, found, strict=True):
            state = policy.model.get_base_model().model(torch.tensor([one.ids])).last_hidden_state[0, -1]
            assert torch.allclose(scores, head(state), atol=1e-5)
    assert found.shape == (2, 2)


def test_a_value_is_read_at_the_state_before_its_token(policy):
    head = ScoreHead(policy.model.config.hidden_size, bias=True)
    torch.nn.init.normal_(head.linear.weight)
    policy.model.eval()
    one = row(policy)
    with torch.no_grad():
        found = values(policy.model, head, lay_out([one]))
        states = policy.model.get_base_model().model(torch.tensor([one.ids])).last_hidden_state[0]
    places = [place - 1 for place, trained in enumerate(one.trained) if trained]
    assert torch.allclose(found, head(states[places])[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match="one number"):
        values(policy.model, ScoreHead(4, ["a", "b"]), lay_out([one]))


def test_a_head_file_holds_one_kind_of_head_and_says_which(tmp_path):
    for head in (ScoreHead(8, ["a", "b"]), ScoreHead(8, bias=True), TokenHead(8, ["bad", "neutral", "good"])):
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter)
        head.save(tmp_path / "head.safetensors")
        again = type(head).load(tmp_path / "head.safetensors")
        assert again.outputs == head.outputs
        assert not again.training
        assert list(again.state_dict()) == list(head.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), head.parameters(), strict=True))
    with pytest.raises(ValueError, match="holds a TokenHead"):
        ScoreHead.load(tmp_path / "head.safetensors")


def test_a_reward_is_the_mean_of_the_tokens_or_every_phrase_counts_once():
    scores = [{"score": value} for value in (-0.9, -0.8, 0.0, -0.3, 0.6, 0.05, 0.0, 0.0)]
    assert reward(scores) == pytest.approx(-1.35 / 8)
    assert reward(scores, reduction="phrases") == pytest.approx(-0.9 - 0.3 + 0.6)
    longer = [{"score": -0.9}] * 20 + scores[2:]
    assert reward(longer, reduction="phrases") == pytest.approx(reward(scores, reduction="phrases"))
    assert reward([], reduction="phrases") == reward([]) == 0.0


def test_a_pooled_head_reads_the_mean_of_the_sentence_beside_the_token():
    head = TokenHead(4, ["bad", "neutral", "good"], pooled=True)
    torch.manual_seed(0)
    torch.nn.init.normal_(head.linear.weight)
    hidden, segments = torch.randn(5, 4), torch.tensor([0, 0, 1, 1, 1])
    states = torch.nn.functional.layer_norm(hidden, (4,))
    means = torch.stack([states[:2].mean(0), states[2:].mean(0)])[segments]
    own, around = head.linear.weight.split(4, dim=1)
    assert torch.allclose(head(hidden, segments), states @ own.T + means @ around.T, atol=1e-6)
    with pytest.raises(ValueError, match="which segment"):
        head(hidden)


def test_sentences_of_different_answers_are_never_pooled_together(policy):
    head = TokenHead(policy.model.config.hidden_size, ["bad", "neutral", "good"], pooled=True)
    torch.nn.init.normal_(head.linear.weight)
    scorer = SpanScorer(policy, head.eval(), labels=[], reading=Reading(echo=False))
    items = [{"messages": ASK, "context": [], "text": text} for text in ("One. Two two.", "Three! Four?", "")]
    for item, found in zip(items, scorer.score_many(items), strict=True):
        alone = scorer.score(**item)
        assert [t["score"] for t in alone] == pytest.approx([t["score"] for t in found], abs=1e-5)


def test_every_token_stands_in_a_sentence_of_its_answer(policy):
    item = {"messages": ASK, "context": [], "text": "One two. Three! 👍🏽 Four?"}
    chat = render_chat(policy.tokenizer, ASK, response=item["text"])
    found = row_of(TokenHead(8, ["bad", "neutral", "good"]), Reading(), chat, item, name="a row").segments
    assert len(found) == sum(chat.completion_mask)
    text = chat.text[chat.response_start : chat.response_end]
    by_sentence = {}
    for (start, end), segment in zip(chat.response_offsets, found, strict=False):
        by_sentence.setdefault(segment, []).append(text[start:end])
    assert [pieces[0].strip() for pieces in by_sentence.values()][0].startswith("O")
    assert found == sorted(found)
    assert len(by_sentence) == 3


def test_a_score_alone_is_the_score_in_any_batch(policy):
    head = TokenHead(policy.model.config.hidden_size, ["bad", "neutral", "good"])
    torch.nn.init.normal_(head.linear.weight)
    scorer = SpanScorer(policy, head.eval(), labels=[], reading=Reading(echo=False, max_tokens=80))
    items = [{"messages": ASK, "context": [], "text": text} for text in (ANSWER, "No.", "", "Yes. " * 100, "So? " * 9)]
    together = scorer.score_many(items, tokens=100)
    assert together[3] is None  # too long, and said so
    assert together[2] == []
    assert reward(together[2]) == 0.0
    for item, found in zip(items, together, strict=True):
        if found:
            alone = scorer.score(**item)
            assert [t["score"] for t in alone] == pytest.approx([t["score"] for t in found], abs=1e-5)


def test_tokens_that_share_a_character_are_one_entry_on_a_page(policy):
    """An emoji is several tokens; a heat map draws each character once."""
    head = TokenHead(policy.model.config.hidden_size, ["bad", "neutral", "good", "rude_phrase"])
    torch.nn.init.normal_(head.linear.weight)
    scorer = SpanScorer(policy, head.eval(), labels=["rude_phrase"], reading=Reading(echo=False))
    for text in (ANSWER, "👩‍🌾👍🏽 مرحبا", "", "a\u0301\r\n  b"):
        tokens = scorer.score(ASK, [], text)
        pieces = disjoint(tokens)
        assert "".join(piece["text"] for piece in pieces) == text
        assert all(text[piece["start"] : piece["end"]] == piece["text"] for piece in pieces)
        assert all(0 <= piece["bad"] <= 1 and set(piece["labels"]) == {"rude_phrase"} for piece in pieces)


# --- rollouts


@pytest.fixture
def prompts(base, tokenizer):
    asks = [
        "How do I fill the tank of my Fernwell Mini?",
        "My Fernwell Max does not find the Wi-Fi. What can I do? Tom",
    ]
    return [render_chat(tokenizer, [{"role": "user", "content": ask}], response=None).ids for ask in asks]


def test_any_sample_can_be_made_again_alone(policy, prompts):
    sampling = Sampling(max_tokens=40)
    together = sample(policy, prompts, 3, sampling=sampling, seed=5)
    assert [one.prompt for one in together] == [0, 0, 0, 1, 1, 1]
    assert len({tuple(one.ids) for one in together}) == 6
    again = sample(policy, prompts[:1], 3, sampling=sampling, seed=5, rows=1)
    assert [one.ids for one in again] == [one.ids for one in together[:3]]
    assert [one.seed for one in again] == [one.seed for one in together[:3]]


def test_the_samplers_log_probabilities_are_the_trainers(policy, prompts):
    for temperature in (1.0, 0.7):
        drawn = sample(policy, prompts, 4, sampling=Sampling(max_tokens=60, temperature=temperature), seed=1)
        rows = [
            Row(str(i), [*prompts[one.prompt], *one.ids], [False] * len(prompts[one.prompt]) + [True] * len(one.ids))
            for i, one in enumerate(drawn)
        ]
        policy.model.eval()
        with torch.no_grad():
            found = completion_logprobs(policy.model, lay_out(rows), temperature=temperature).values
        assert found.tolist() == pytest.approx([value for one in drawn for value in one.logprobs], abs=1e-4)


def test_a_finished_answer_ends_in_the_stop_token_which_its_text_does_not_show(policy, prompts):
    drawn = sample(policy, prompts, 4, sampling=Sampling(max_tokens=160), seed=2)
    assert any(one.finished for one in drawn)
    for one in drawn:
        assert one.finished == (one.ids[-1] == policy.tokenizer.eos_token_id)
        assert "<|end|>" not in one.text
        assert len(one.ids) == len(one.logprobs)
    cut = sample(policy, prompts, 1, sampling=Sampling(max_tokens=3), seed=2)
    assert [len(one.ids) for one in cut] == [3, 3]
    assert not any(one.finished for one in cut)


def test_without_temperature_the_likeliest_answer_comes_and_top_k_of_one_is_the_same(policy, prompts):
    greedy = sample(policy, prompts, 1, sampling=Sampling(max_tokens=12, temperature=0))
    top = sample(policy, prompts, 1, sampling=Sampling(max_tokens=12, top_k=1), seed=9)
    assert [one.ids for one in greedy] == [one.ids for one in top]
    assert top[0].logprobs == [0.0] * len(top[0].ids)  # of the truncated distribution, as is said
