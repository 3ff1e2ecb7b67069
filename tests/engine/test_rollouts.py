"""The own sampler says what plain transformers says, whoever else is in the batch, and leaves the model as it was."""

import pytest
import torch

from tests.engine.rollout_cases import FAMILIES, NOT_OURS, greedy, make_policy, some_prompts, trainers_logprobs
from training.engine.rollouts import Own, Prompt, Sampling, Transformers, light, own, plain, sample, sample_with
from training.engine.rollouts.sampling import Ask, Draft

LENGTHS = [11, 3, 17, 1, 30, 8]


@pytest.fixture(params=sorted(FAMILIES))
def policy(request, plain_tokenizer):
    return make_policy(request.param, plain_tokenizer)


FEW = pytest.mark.parametrize("policy", ["llama", "gemma3_narrow"], indirect=True)


@pytest.fixture
def llama(plain_tokenizer):
    return make_policy("llama", plain_tokenizer)


def flat(drawn):
    return [value for one in drawn for value in one.logprobs]


def test_greedy_answers_are_those_of_the_model_without_any_cache(policy):
    assert own.can_write(policy.model)
    prompts = some_prompts(policy.tokenizer, LENGTHS)
    drawn = sample(policy, prompts, 1, sampling=Sampling(max_tokens=14, temperature=0), rows=4)
    for one in drawn:
        expected = greedy(policy, prompts[one.prompt], len(one.ids))
        assert one.ids == expected
        assert len(one.ids) == 14 or one.finished


def test_the_samplers_log_probabilities_are_those_of_training(policy):
    prompts = some_prompts(policy.tokenizer, LENGTHS)
    for temperature in (1.0, 0.6):
        drawn = sample(policy, prompts, 3, sampling=Sampling(max_tokens=40, temperature=temperature), rows=7)
        assert flat(drawn) == pytest.approx(
            trainers_logprobs(policy, prompts, drawn, temperature=temperature), abs=1e-4
        )


@FEW
def test_the_plain_sampler_draws_the_same_answers(policy):
    prompts = some_prompts(policy.tokenizer, LENGTHS)
    sampling = Sampling(max_tokens=20)
    ours = sample(policy, prompts, 2, sampling=sampling, rows=5, seed=4)
    drafts = [Draft(one.prompt, one.seed, sampling) for one in ours]
    plain.write(policy, [Ask(prompts[d.prompt], [d]) for d in drafts], sampling=sampling, rows=5)
    assert [one.ids for one in ours] == [draft.ids for draft in drafts]
    assert flat(ours) == pytest.approx([value for draft in drafts for value in draft.logprobs], abs=1e-4)


@FEW
def test_an_answer_is_the_same_alone_as_in_a_full_batch(policy):
    prompts = some_prompts(policy.tokenizer, LENGTHS)
    sampling = Sampling(max_tokens=40)
    together = sample(policy, prompts, 4, sampling=sampling, seed=7, rows=9)
    for one in together[::5]:
        draft = Draft(0, one.seed, sampling)
        own.write(policy, [Ask(prompts[one.prompt], [draft])], sampling=sampling, rows=1)
        assert draft.ids == one.ids
        assert draft.logprobs == pytest.approx(one.logprobs, abs=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 8, 100])
def test_the_batchs_size_changes_nothing_also_where_many_answers_end_early(llama, rows):
    prompts = some_prompts(llama.tokenizer, LENGTHS)
    sampling = Sampling(max_tokens=30, stop_tokens=tuple(range(5, 30)))
    expected = sample(llama, prompts, 5, seed=1, rows=30, sampling=sampling)
    assert len({len(one.ids) for one in expected}) > 8
    found = sample(llama, prompts, 5, seed=1, rows=rows, sampling=sampling)
    assert [one.ids for one in found] == [one.ids for one in expected]
    assert [(one.prompt, one.seed) for one in found] == [(one.prompt, one.seed) for one in expected]
    assert flat(found) == pytest.approx(flat(expected), abs=1e-5)


def test_prompts_are_admitted_in_their_order_as_rows_become_free_and_each_is_read_once(llama, monkeypatch):
    read, widths = [], []
    really = own.run

    def watched(backbone, stream, ids, positions, device):
        read.extend(tuple(piece.ids) for piece in stream.pieces)
        if stream.groups:
            widths.append(len(ids))
        return really(backbone, stream, ids, positions, device)

    assert own.can_write(llama.model)
    monkeypatch.setattr(own, "run", watched)
    prompts = some_prompts(llama.tokenizer, [4, 9, 2, 7, 5, 8, 3, 6])
    stops = tuple(range(5, 60))  # many tokens end an answer, so lengths are uneven
    drawn = sample(llama, prompts, 3, sampling=Sampling(max_tokens=40, stop_tokens=stops), rows=6)
    assert read == [tuple(prompt) for prompt in prompts]
    assert len({len(one.ids) for one in drawn}) > 3
    assert max(widths) <= 6
    steps = sum(len(one.ids) - 1 for one in drawn)  # the first token comes from reading
    assert sum(widths) == steps
    waited_for_the_longest = sum(
        max(len(one.ids) - 1 for one in drawn[start : start + 6]) for start in range(0, len(drawn), 6)
    )
    assert len(widths) < waited_for_the_longest


def test_more_answers_than_rows_are_written_in_turns(llama):
    prompts = some_prompts(llama.tokenizer, [6])
    drawn = sample(llama, prompts, 20, sampling=Sampling(max_tokens=6), rows=8)
    assert len(drawn) == 20
    assert len({tuple(one.ids) for one in drawn}) > 15


def test_no_prompts_no_answers_and_an_empty_prompt_is_named(llama):
    assert sample(llama, [], 4) == []
    assert sample(llama, [[5, 6]], 0) == []
    with pytest.raises(ValueError, match="Prompt 1 has no tokens"):
        sample(llama, [[5], []], 2)


def test_one_token_is_enough_and_what_is_cut_off_says_so(llama):
    prompts = some_prompts(llama.tokenizer, LENGTHS)
    drawn = sample(llama, prompts, 2, sampling=Sampling(max_tokens=1), rows=4)
    assert [len(one.ids) for one in drawn] == [1] * 12
    stops = set(llama.tokenizer.all_special_ids)
    assert [one.finished for one in drawn] == [one.ids[0] in stops for one in drawn]
    assert not all(one.finished for one in drawn)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_the_same_bit_for_bit_afterwards_also_after_an_error(llama, monkeypatch, training):
    llama.model.train(training)
    before, modules = state(llama.model), [id(module) for module in llama.model.modules()]
    kind = llama.model.config._attn_implementation

    def as_before():
        after = state(llama.model)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert [id(module) for module in llama.model.modules()] == modules
        assert llama.model.training is training
        assert llama.model.config._attn_implementation == kind

    sample(llama, [[5, 6, 7]], 2, sampling=Sampling(max_tokens=4))
    as_before()

    def broken(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(own, "draw", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        sample(llama, [[5, 6, 7]], 2, sampling=Sampling(max_tokens=4))
    as_before()


@pytest.mark.parametrize("backend", [Own, Transformers])
def test_a_run_that_is_stopped_stops_between_two_steps_and_the_model_can_go_on(llama, backend):
    steps = []

    def stop_at_the_third():
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt

    before = state(llama.model)
    with pytest.raises(KeyboardInterrupt):
        sample_with(backend(llama, heed=stop_at_the_third), [Prompt([5, 6, 7])], 2)
    assert len(steps) == 3
    assert all(torch.equal(before[name], value) for name, value in llama.model.state_dict().items())


def test_a_model_that_is_already_light_is_not_made_light_again(llama):
    expected = sample(llama, [[5, 6, 7]], 2, seed=1, sampling=Sampling(max_tokens=6))
    with light(llama.model):
        modules = [id(module) for module in llama.model.modules()]
        found = [sample(llama, [[5, 6, 7]], 2, seed=1, sampling=Sampling(max_tokens=6)) for _ in range(2)]
        assert [id(module) for module in llama.model.modules()] == modules
    assert found == [expected, expected]


def test_an_adapter_that_is_switched_off_is_not_heard(llama):
    sampling = Sampling(max_tokens=10, temperature=0)
    with_it = sample(llama, [[5, 6, 7]], 1, sampling=sampling)
    with llama.model.disable_adapter():
        without = sample(llama, [[5, 6, 7]], 1, sampling=sampling)
    base = make_policy("llama", llama.tokenizer, lora=False)
    assert without[0].ids == sample(base, [[5, 6, 7]], 1, sampling=sampling)[0].ids
    assert without[0].logprobs != pytest.approx(with_it[0].logprobs, abs=1e-3)


def test_a_model_in_half_precision_keeps_its_adapter_apart(llama):
    llama.model.get_base_model().to(torch.bfloat16)
    prompts = some_prompts(llama.tokenizer, [5, 9])
    drawn = sample(llama, prompts, 2, sampling=Sampling(max_tokens=8))
    assert flat(drawn) == pytest.approx(trainers_logprobs(llama, prompts, drawn), abs=0.1)


def test_a_model_with_another_attention_is_sampled_the_plain_way_and_the_log_says_so(plain_tokenizer, caplog):
    policy = make_policy(*NOT_OURS, plain_tokenizer)
    with caplog.at_level("WARNING", logger="redpen.engine"):
        prompts = some_prompts(plain_tokenizer, [9, 4])
        drawn = sample(policy, prompts, 1, sampling=Sampling(max_tokens=12, temperature=0))
        sample(policy, prompts, 1, sampling=Sampling(max_tokens=1))
    assert [greedy(policy, prompts[one.prompt], len(one.ids)) for one in drawn] == [one.ids for one in drawn]
    assert [record.message for record in caplog.records if "softcap" in record.message] != []
    assert len(caplog.records) == 1


def test_a_model_that_our_stream_would_get_wrong_is_found_out(llama, monkeypatch):
    from training.engine.rollouts import stream

    monkeypatch.setattr(stream.Group, "position", property(lambda group: len(group.prefix)))
    assert not own.can_write(llama.model)
