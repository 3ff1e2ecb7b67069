"""What users of other trainers ran into, one test for each row of the list in `../shared/anchors/training.md`, section
B; the other half is in test_pitfalls_policy. The numbers are the threads where it was reported. What is only touched
here is tested at length where it belongs.
"""

import copy
import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from tests.engine.chat_templates import tokenizer_of
from tests.engine.pitfall_cases import ASK, group, small_model, small_rows
from training.engine import objectives
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
from training.engine.logprobs import completion_logprobs
from training.engine.loop import Loop
from training.engine.objectives import sft
from training.engine.packs import Row, lay_out, micro_batches
from training.engine.policy import Lora, Policy
from training.engine.rollouts import Sampling, sample
from training.engine.rows import PromptsDiffer, comparison, row_from_ids, row_of_chat
from training.engine.templates import examine_template


@pytest.fixture
def policy(base):
    return Policy.load(base, lora=Lora(rank=4), seed=3)


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
    model = small_model().double()
    whole = objective(lay_out(rows))
    loss = (whole.total / whole.count).item()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(whole.total / whole.count, [*model.parameters()])])
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
