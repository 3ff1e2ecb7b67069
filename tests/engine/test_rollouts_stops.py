"""Stop strings end an answer wherever tokens part them; ids stay as sampled, and the text ends before them."""

import pytest

from tests.engine.rollout_cases import make_policy, some_prompts, trainers_logprobs
from training.engine.rollouts import NoLogprobs, Sample, Sampling, sample
from training.engine.rollouts.sampling import Draft
from training.engine.rollouts.stops import Stops


def written(tokenizer, ids, **options):
    """Ids as if a model had sampled them: the sample, as far as it came."""
    sampling = Sampling(max_tokens=options.pop("max_tokens", len(ids)), **options)
    stops, draft = Stops(tokenizer, sampling), Draft(0, 1, sampling)
    for token in ids:
        if stops.take(draft, token, -0.5, None):
            break
    return stops.sample(draft)


@pytest.mark.parametrize("apart", [True, False])
def test_a_stop_string_that_spans_tokens_ends_the_answer_and_the_text(plain_tokenizer, apart):
    text = "The cat sat on the moon. She said hello."
    ids = plain_tokenizer(text)["input_ids"]
    if apart:  # one letter after the other
        ids = [token for letter in text for token in plain_tokenizer(letter)["input_ids"]]
    one = written(plain_tokenizer, ids, stop=["moon. She"])
    assert (one.text, one.finished, one.stop) == ("The cat sat on the ", True, "moon. She")
    assert one.ids == ids[: len(one.ids)]
    assert plain_tokenizer.decode(one.ids).startswith("The cat sat on the moon. She")
    assert len(one.logprobs) == len(one.ids) < len(ids)


def test_the_first_stop_string_in_the_text_counts_and_the_longer_one_of_two(plain_tokenizer):
    ids = [token for letter in "cat moon" for token in plain_tokenizer(letter)["input_ids"]]
    assert written(plain_tokenizer, ids, stop=["moon", "at", "cat"]).stop == "cat"
    whole = plain_tokenizer("cat")["input_ids"]
    assert written(plain_tokenizer, whole, stop=["t", "at"]).text == "c"


def test_characters_of_several_tokens_are_waited_for(plain_tokenizer):
    ids = plain_tokenizer("so 💧 there")["input_ids"]
    drop = plain_tokenizer("💧")["input_ids"]
    assert len(drop) > 1
    one = written(plain_tokenizer, ids, stop=["💧"])
    assert one.text == "so "
    assert one.ids[-len(drop) :] == drop


def test_long_answers_are_searched_to_their_end(plain_tokenizer):
    ids = plain_tokenizer("the cat sat on the moon " * 30 + "END of it")["input_ids"]
    one = written(plain_tokenizer, ids, stop=["END"])
    assert one.text == "the cat sat on the moon " * 30
    assert not written(plain_tokenizer, ids, stop=["STOP"]).finished


def test_a_stop_token_ends_it_too_and_is_kept_but_not_shown(plain_tokenizer):
    ids = plain_tokenizer("The cat sat.")["input_ids"]
    end = plain_tokenizer.eos_token_id
    one = written(plain_tokenizer, [*ids, end, *ids], stop=["moon"])
    assert (one.text, one.ids, one.finished, one.stop) == ("The cat sat.", [*ids, end], True, None)
    extra = written(plain_tokenizer, ids, stop_tokens=[ids[-1]])
    assert (extra.ids, extra.finished) == (ids, True)
    assert extra.text == plain_tokenizer.decode(ids[:-1])


def test_an_answer_that_ends_with_its_last_token_is_finished_and_any_other_is_cut_off(plain_tokenizer):
    ids = plain_tokenizer("The cat sat.")["input_ids"]
    assert written(plain_tokenizer, ids, stop=["sat."], max_tokens=len(ids)).finished
    cut = written(plain_tokenizer, ids, stop=["sat on"])
    assert (cut.finished, cut.stop, cut.text) == (False, None, "The cat sat.")


def test_answers_with_stop_strings_are_drawn_as_without_and_end_earlier(plain_tokenizer):
    policy = make_policy("llama", plain_tokenizer)
    prompts = some_prompts(plain_tokenizer, [7, 12])
    whole = sample(policy, prompts, 6, sampling=Sampling(max_tokens=30))
    cut = sample(policy, prompts, 6, sampling=Sampling(max_tokens=30, stop=["a", "."]))
    assert any(one.stop for one in cut)
    for before, after in zip(whole, cut, strict=True):
        assert before.ids[: len(after.ids)] == after.ids
        if after.stop:
            assert after.stop not in after.text
            assert after.stop in plain_tokenizer.decode(after.ids)
        else:
            assert after.ids == before.ids
    found = [value for one in cut for value in one.logprobs]
    assert found == pytest.approx(trainers_logprobs(policy, prompts, cut), abs=1e-4)


def test_a_sample_becomes_a_row_with_all_its_tokens_trained_and_none_without_log_probabilities(plain_tokenizer):
    policy = make_policy("llama", plain_tokenizer)
    (one,) = sample(policy, [[5, 6, 7]], 1, sampling=Sampling(max_tokens=4))
    row = one.row("an answer", [5, 6, 7], of_row={"advantage": 0.5})
    assert row.ids == [5, 6, 7, *one.ids]
    assert row.trained == [False] * 3 + [True] * len(one.ids)
    assert row.of_tokens == {"old": one.logprobs}
    assert row.of_row == {"advantage": 0.5}
    text_only = Sample(prompt=0, seed=1, ids=[], logprobs=[], text="hello", finished=True)
    with pytest.raises(NoLogprobs, match="an answer: this answer came without"):
        text_only.row("an answer", [5, 6, 7])
