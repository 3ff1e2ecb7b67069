"""What users of other trainers ran into, one test for each row of the list in `../shared/anchors/training.md`, section
B. The numbers are the threads where it was reported. What is only touched here is tested at length where it belongs.
"""

import ast
import copy
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import LlamaConfig, LlamaForCausalLM

from tests.engine.chat_templates import tokenizer_of
from training.engine import attention, checkpoints, kl, objectives
from training.engine.chats import (
    TemplateRefused,
    encode,
    mask_segments,
    render_answers,
    render_chat,
    render_completion,
    render_conversation,
    stop_ids,
)
from training.engine.heads import ScoreHead, row_scores
from training.engine.logprobs import causal_model, completion_logprobs
from training.engine.loop import Batches, Loop
from training.engine.objectives import PairLogprobs, dpo, sft
from training.engine.packs import Row, lay_out, micro_batches
from training.engine.policy import Lora, Policy, log_ratios, reference_logprobs
from training.engine.rollouts import Sampling, sample
from training.engine.rollouts.sampling import TruncatedSampling
from training.engine.rows import PromptsDiffer, comparison, row_from_ids, row_of_chat
from training.engine.templates import examine_template

ASK = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]
ANSWERS = ["Open the flap. Pour in fresh water 💧 please.", "No.", "Open the flap, if there is one.", "Well."]
RECIPES = Path(__file__).resolve().parents[2] / "training" / "recipes"


@pytest.fixture
def policy(base):
    return Policy.load(base, lora=Lora(rank=4), seed=3)


def row(policy, name="r", answer=ANSWERS[0]):
    return row_of_chat(name, render_chat(policy.tokenizer, ASK, response=answer))


def group(policy):
    return [row(policy, f"answer {place}", text) for place, text in enumerate(ANSWERS)]


def stir(parameters, std=0.05, seed=0):
    torch.manual_seed(seed)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=std)


def small_model(seed=0):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"eos_token_id": 2, "pad_token_id": 2}  # padding is the end of sequence, as in most models people bring
    return LlamaForCausalLM(LlamaConfig(vocab_size=97, initializer_range=0.2, **sizes, **ends)).eval()


def small_rows(count=8, seed=0):
    chance = random.Random(seed)
    found = []
    for place in range(count):
        prompt, answer = chance.randint(1, 9), chance.randint(1, 12)
        ids = [chance.randrange(3, 97) for _ in range(prompt + answer)]
        found.append(Row(f"row {place}", ids, [False] * prompt + [True] * answer))
    return found


# --- sums and their denominators


@pytest.mark.parametrize("name", ["sft", "grpo", "dr_grpo", "dapo", "rloo"])
def test_the_loss_does_not_depend_on_how_its_batch_was_accumulated(name):
    """transformers 34191, 37766; TRL 2456, 2615, 5710, 5619, 6024, 5890; ms-swift 10117."""
    rows = [
        Row(one.name, one.ids, one.trained, of_row={"advantage": math.sin(place)})
        for place, one in enumerate(small_rows())
    ]

    def objective(pack):
        now = completion_logprobs(model, pack).values
        by_row = pack.by_row("advantage")
        by_token = pack.ragged.spread(by_row)
        return {
            "sft": lambda: sft(now),
            "grpo": lambda: objectives.grpo(now, None, by_token, pack.ragged),
            "dr_grpo": lambda: objectives.dr_grpo(now, None, by_token, pack.ragged, length=12),
            "dapo": lambda: objectives.dapo(now, None, by_token),
            "rloo": lambda: objectives.rloo(now, None, by_row, pack.ragged),
        }[name]()

    found = {}
    for how, parts, tokens in [
        ("1x8", [rows], 4096),
        ("2x4", [rows[:4], rows[4:]], 4096),
        ("8x1", [[one] for one in rows], 4096),
        ("by budget", [rows], 40),
    ]:
        model = small_model().double()  # so that only the division shows
        loop = Loop(model.parameters(), lr=0.1, steps=1, clip=0.0)
        for part in parts:
            loop.forward_backward(micro_batches(part, tokens=tokens), objective)
        gradients = []
        loop.optimizer.register_step_pre_hook(
            lambda *_, model=model, into=gradients: into.extend(p.grad.flatten() for p in model.parameters())
        )
        found[how] = loop.optim_step()["loss"], torch.cat(gradients)
    loss, gradient = found["1x8"]
    assert gradient.norm() > 0
    for other_loss, other in found.values():
        assert other_loss == pytest.approx(loss, rel=1e-6)
        assert (other - gradient).norm() < 1e-6 * gradient.norm()


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo", "rloo", "reinforce"])
def test_what_a_mask_takes_out_is_gone_from_the_denominator_too(name):
    """TRL 6369, 6439 (truncated completions), 4976 (what a tool said), 3476 (lengths)."""
    made = torch.Generator().manual_seed(0)
    rows = small_rows(4)
    whole = lay_out(rows)
    mask = torch.rand(len(whole.row_of), generator=made) > 0.4
    mask[whole.row_of == 2] = False  # an answer that was cut off: nothing of it counts, not even that it was there
    kept = [
        Row(one.name, one.ids, [False] * sum(not t for t in one.trained) + mask[whole.row_of == place].tolist())
        for place, one in enumerate(rows)
        if place != 2
    ]
    assert whole.ragged.lengths().tolist() != whole.ragged.lengths(mask).tolist()  # the raw length is still known

    def loss(pack, advantages, mask):
        now = completion_logprobs(small_model(), pack).values
        of_tokens = pack.ragged.spread(advantages)
        calls = {
            "grpo": lambda: objectives.grpo(now, None, of_tokens, pack.ragged, mask=mask),
            "dr_grpo": lambda: objectives.dr_grpo(now, None, of_tokens, pack.ragged, length=9, mask=mask),
            "dapo": lambda: objectives.dapo(now, None, of_tokens, mask=mask),
            "gspo": lambda: objectives.gspo(now, None, advantages, pack.ragged, mask=mask),
            "rloo": lambda: objectives.rloo(now, None, advantages, pack.ragged, mask=mask),
            "reinforce": lambda: objectives.reinforce(now, of_tokens, pack.ragged, mask=mask),
        }
        found = calls[name]()
        return found.total.item(), found.count.item()

    advantages = torch.tensor([1.0, -0.5, 3.0, 0.7])
    masked = loss(whole, advantages, mask)
    assert masked == pytest.approx(loss(lay_out(kept), advantages[[0, 1, 3]], None), rel=1e-5)
    assert masked != pytest.approx(loss(whole, advantages, None), rel=1e-2)


def test_a_batch_with_nothing_left_to_train_changes_nothing_and_says_whose_it_was():
    """TRL 5662, 5826 (max_length below the prompt's), 5575."""
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    loop = Loop(model.parameters(), lr=0.1, steps=2, weight_decay=0.1)
    cut = [Row("answer 17", [5, 6, 7], [False] * 3), Row("answer 18", [5, 6], [False] * 2)]
    loop.forward_backward(micro_batches(cut, tokens=64), lambda pack: sft(completion_logprobs(model, pack).values))
    values = loop.optim_step()
    assert values["loss"] == 0
    assert all(math.isfinite(value) for value in values.values())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    (warning,) = loop.warnings
    assert "answer 17" in warning
    assert "answer 18" in warning
    pack, empty = lay_out(cut), torch.zeros(0)
    now = completion_logprobs(model, pack).values
    for loss in (
        objectives.grpo(now, None, empty, pack.ragged),
        objectives.rloo(now, None, torch.zeros(2), pack.ragged),
        objectives.dapo(now, None, empty),
    ):
        assert (loss.total.item(), loss.count.item()) == (0, 0)


# --- chats


def test_the_token_that_ends_an_answer_is_learnt(base, tokenizer):
    """TRL 1623, 2059, 3091, 5988 (a turn closed by the next role's marker); verl 535: padding masked as the stop."""
    model = Policy.load(base, full=True).model
    chat = render_chat(tokenizer, ASK, response="Open the flap.")
    pack = lay_out([row_of_chat("r", chat)])
    assert pack.token_ids[-1].item() in stop_ids(tokenizer)
    before = completion_logprobs(model, pack).values[-1].item()
    loop = Loop(model.parameters(), lr=1e-3, steps=3, schedule="constant", warmup=0)
    for _ in range(3):
        loop.forward_backward([pack], lambda pack: sft(completion_logprobs(model, pack).values))
        loop.optim_step()
    assert completion_logprobs(model, pack).values[-1].item() > before + 0.1
    padded = tokenizer_of("chatml")
    padded.pad_token = padded.eos_token  # where the two are one, nothing looks for either by its id
    trained = render_chat(padded, ASK, response="Yes.").completion_ids
    assert padded.decode(trained) == "Yes.<|im_end|>"
    assert "only with the next turn's marker" in examine_template(tokenizer_of("glm")).refused


def test_a_template_without_generation_marks_trains_the_answers_and_only_them():
    """Megatron-Bridge 3927, 5389; open-instruct 1800 (a stop after the last turn only); Automodel 3739 (empty think
    tags).
    """
    talk = [*ASK, {"role": "assistant", "content": "Hello."}, *ASK, {"role": "assistant", "content": "Good day."}]
    for kind in ("chatml", "llama3", "gemma", "phi3", "qwen3"):
        tokenizer = tokenizer_of(kind)
        assert "generation %}" not in tokenizer.chat_template
        trained = [
            segment.text
            for part in render_answers(tokenizer, talk)
            for segment in mask_segments(part)
            if segment.trained
        ]
        stop = {"chatml": "<|im_end|>", "qwen3": "<|im_end|>", "llama3": "<|eot_id|>", "phi3": "<|end|>"}
        closing = stop.get(kind, "<end_of_turn>")
        assert trained == [f"Hello.{closing}", f"Good day.{closing}"]
    upper = tokenizer_of("chatml", "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}")
    with pytest.raises(TemplateRefused, match="alters the answer"):
        render_chat(upper, ASK, response="Hello.")


def test_what_was_sampled_is_never_turned_into_text_and_tokenised_again(policy):
    """TRL 5224, 5242, 5559, 6250; verl 6719, 6501 (a newline lost); NeMo-RL 1337; ms-swift 10106."""
    prompt = render_chat(policy.tokenizer, ASK, response=None).ids
    drawn = sample(policy, [prompt], 6, sampling=Sampling(max_tokens=25, temperature=1.5), seed=1)
    reread = [encode(policy.tokenizer, one.text)[0] for one in drawn]
    assert any(ids != one.ids[: len(ids)] for ids, one in zip(reread, drawn, strict=True))  # text would be other tokens
    rows = [one.row(f"sample {place}", prompt) for place, one in enumerate(drawn)]
    pack = lay_out([rows])
    assert pack.token_ids.tolist() == [token for one in drawn for token in one.ids]
    with torch.no_grad():
        now = completion_logprobs(policy.model.eval(), pack, temperature=1.5).values
    assert torch.allclose(now, pack.flat("old"), atol=1e-3)
    first, second = drawn[0].ids, drawn[1].ids
    written = [*[True] * len(first), False, False, *[True] * len(second)]
    turns = row_from_ids("turns", prompt, [*first, 7, 8, *second], written=written)
    assert lay_out([turns]).token_ids.tolist() == [*first, *second]  # what came in between is read, and not trained


def test_where_a_turn_would_not_be_the_beginning_of_the_next_the_rows_are_parted():
    """TRL 6250: a conversation whose earlier turns are rewritten is no longer what the sampler saw."""
    qwen3 = tokenizer_of("qwen3")
    talk = [*ASK, {"role": "assistant", "content": "One."}, *ASK, {"role": "assistant", "content": "Two."}]
    with pytest.raises(TemplateRefused, match="cannot be trained in one row"):
        render_conversation(qwen3, talk)
    for part, turns in zip(render_answers(qwen3, talk), (1, 3), strict=True):
        (answer,) = part.answers
        assert part.ids[: answer[0]] == render_chat(qwen3, talk[:turns], response=None).ids


def test_an_answer_that_melts_into_its_prompt_keeps_the_border_and_a_pair_has_one_prompt():
    """TRL 2054, 2209; unsloth-zoo 1110 (cut by characters, through a special token), 832."""
    tokenizer = tokenizer_of(
        "chatml", "{% for m in messages %}{{ m.content }}<|im_end|>{% if m.role == 'user' %} hel{% endif %}{% endfor %}"
    )
    assert len(encode(tokenizer, " hello")[0]) < len(encode(tokenizer, " hel")[0]) + len(encode(tokenizer, "lo")[0])
    asked = render_chat(tokenizer, ASK, response=None)
    chosen, rejected = (render_chat(tokenizer, ASK, response=text) for text in ("lo", "p me"))
    assert chosen.prompt_ids == rejected.prompt_ids == asked.ids
    assert tokenizer.decode(chosen.completion_ids) == "lo<|im_end|>"
    plain = render_completion(tokenizer, "She said hel", "lo")
    assert tokenizer.decode(plain.prompt_ids) == "She said"  # the longest common beginning of the two
    rows = [row_of_chat("pair 9 chosen", chosen), row_of_chat("pair 9 rejected", rejected)]
    assert comparison(rows) == rows
    moved = Row("pair 9 rejected", rejected.ids[1:], rejected.completion_mask[1:])
    with pytest.raises(PromptsDiffer, match="pair 9 rejected and pair 9 chosen"):
        comparison([rows[0], moved])


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


def test_policy_and_reference_are_the_same_to_the_bit_before_the_first_step_and_not_after(base):
    """NeMo-Aligner 227, 228 (another micro-batch); TRL 5542 (dropout while precomputing), 6443 (a reference that had
    become the policy).
    """
    policy = Policy.load(base, lora=Lora(rank=4, dropout=0.3))
    policy.model.train()
    units = [group(policy)]
    for tokens in (160, 4096):
        known = reference_logprobs(policy, units, tokens=tokens)
        with policy.without_dropout() as still:
            own = [completion_logprobs(still, pack).values for pack in micro_batches(units, tokens=tokens)]
        assert torch.equal(torch.cat(own).detach(), torch.tensor([value for one in known for value in one]))
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


# --- heads


def test_a_score_is_read_at_the_rows_last_token_and_company_does_not_change_it():
    """transformers 35352, 35911 (padding = end of sequence); TRL 937 (no padding token), 5813 (no stop token at the
    end); reward-bench 137 (the batch size changed scores).
    """
    model, head = small_model(), ScoreHead(32)
    torch.nn.init.normal_(head.linear.weight)
    stop = model.config.eos_token_id
    assert model.config.pad_token_id == stop
    texts = [[5, 6, stop, 7, 8, stop], [5, 6, 9], [stop, stop, stop], [5, 6, stop, 7, 8, 9, 10, 11, 12]]
    rows = [Row(str(place), ids, [False, *[True] * (len(ids) - 1)]) for place, ids in enumerate(texts)]
    with torch.no_grad():
        expected = torch.stack([head(model.model(torch.tensor([ids])).last_hidden_state[0, -1]) for ids in texts])
        assert expected.std() > 0.1
        for units in (rows, [rows], [rows[:2], rows[2:]]):
            assert torch.allclose(row_scores(model, head, lay_out(units)), expected, atol=1e-4)
        model.config.pad_token_id = None
        for one, score in zip(rows, expected, strict=True):
            assert torch.allclose(row_scores(model, head, lay_out([one]))[0], score, atol=1e-4)


def test_a_reward_head_is_trained_saved_and_read_again_with_its_adapter(base, tmp_path):
    """TRL 297, 368, 1379, 2743, 398; OpenRLHF 1342, 872; LLaMA-Factory 10556; transformers 26160; peft 756. The same in
    a fresh process is in test_heads.
    """
    policy = Policy.load(base, lora=Lora(rank=4, targets="all-linear"))
    head = ScoreHead(policy.model.config.hidden_size, ["helpful", "safe"])
    pack = lay_out([group(policy)])
    loop = Loop([*policy.parameters, *head.parameters()], lr=1e-2, steps=3, schedule="constant", warmup=0)
    for _ in range(3):
        loop.forward_backward(
            [pack],
            lambda pack: objectives.bradley_terry(
                (scores := row_scores(policy.model, head, pack).sum(-1))[[0, 2]], scores[[1, 3]]
            ),
        )
        loop.optim_step()
    assert head.linear.weight.abs().min() > 0
    assert any(parameter.abs().sum() > 0 for parameter in policy.parameters)
    policy.save(tmp_path)
    head.save(tmp_path / "head.safetensors")
    policy.model.eval()
    again, same = Policy.open(base, tmp_path), ScoreHead.load(tmp_path / "head.safetensors")
    with torch.no_grad():
        here = row_scores(policy.model, head, pack)
        assert torch.equal(row_scores(again.model, same, pack), here)
        again.model.merge_adapter()
        assert torch.allclose(row_scores(again.model, same, pack), here, atol=1e-4)
        assert not torch.allclose(row_scores(Policy.open(base, None).model, same, pack), here, atol=1e-2)


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
            noisy = [one for one in batch if random.random() + np.random.rand() < 1.8]
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


# --- positions


def test_there_is_no_padding_side_and_every_token_stands_where_it_stands_in_its_row():
    """TRL 469, 1217, 2520, 6800 (no position ids passed); transformers 29419; OpenRLHF 219."""
    model, rows = small_model(), small_rows(6, seed=3)
    shared = [Row(one.name, [11, 12, 13, 14, 15, *one.ids], [False] * 5 + list(one.trained)) for one in rows]
    pack = lay_out([shared[:3], *shared[3:]])
    for one, places in zip(pack.rows, pack.places, strict=True):
        assert pack.positions[0, list(places)].tolist() == list(range(len(one.ids)))
    alone = torch.cat(
        [
            F.log_softmax(model(torch.tensor([one.ids])).logits[0].float(), -1)[
                torch.arange(len(one.ids) - 1), torch.tensor(one.ids[1:])
            ][torch.tensor(one.trained[1:])]
            for one in shared
        ]
    )
    assert torch.allclose(completion_logprobs(model, pack).values, alone, atol=1e-4)
    shifted = model(torch.tensor([shared[0].ids]), position_ids=torch.arange(3, 3 + 2 * len(shared[0].ids), 2)[None])
    assert not torch.allclose(shifted.logits, model(torch.tensor([shared[0].ids])).logits, atol=1e-2)  # it matters
