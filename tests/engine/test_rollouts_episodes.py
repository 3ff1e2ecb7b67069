"""Conversations of several turns keep the ids that were sampled, train only those, and read nothing twice."""

import pytest
import torch

from tests.engine.chat_templates import tokenizer_of
from tests.engine.rollout_cases import make_policy
from training.engine.chats import TemplateRefused
from training.engine.logprobs import completion_logprobs
from training.engine.packs import lay_out
from training.engine.rollouts import Sampling, own, plain
from training.engine.rollouts.conversations import Reply, episodes


class Counting:
    """Says how long each answer was, until it has had enough; pays 1 for a short one."""

    def __init__(self, enough=3, opening="The cat sat."):
        self.enough, self.opening, self.heard = enough, opening, []

    def reset(self, seed):
        self.heard = []
        return [{"role": "user", "content": self.opening}]

    def step(self, answer):
        self.heard.append(answer)
        return Reply(
            says=f"That was {len(answer.ids)} tokens.",
            reward=float(len(answer.ids) < 10),
            done=len(self.heard) == self.enough,
        )


@pytest.fixture(params=["chatml", "llama3", "gemma"])
def policy(request):
    return make_policy({"chatml": "qwen3", "llama3": "llama", "gemma": "gemma3_narrow"}[request.param],
                       tokenizer_of(request.param))  # fmt: skip


@pytest.fixture
def llama():
    return make_policy("llama", tokenizer_of("chatml"))


SAMPLING = Sampling(max_tokens=12)


def test_an_episodes_row_alone_has_the_log_probabilities_that_the_sampler_recorded(policy):
    played = episodes(policy, [Counting(opening=text) for text in ("The cat sat.", "Be brief. Think.")], seed=2,
                      sampling=SAMPLING)  # fmt: skip
    for episode in played:
        assert len(episode.turns) == 3
        with torch.no_grad():
            found = completion_logprobs(policy.model, lay_out([episode.row("an episode")])).values
        assert found.tolist() == pytest.approx(episode.logprobs, abs=1e-4)


def test_every_answer_stands_in_the_row_as_it_was_sampled_and_nothing_else_is_trained(policy):
    (episode,) = episodes(policy, [Counting()], seed=5, sampling=SAMPLING)
    row = episode.row("an episode")
    assert [token for token, trained in zip(row.ids, row.trained, strict=True) if trained] == [
        token for turn in episode.turns for token in turn.ids
    ]
    assert row.segments == [number for number, turn in enumerate(episode.turns) for _ in turn.ids]
    text = policy.tokenizer.decode(row.ids)
    for turn in episode.turns[:-1]:
        assert f"That was {len(turn.ids)} tokens." in text
    assert not any(
        trained and "That was" in policy.tokenizer.decode([token])
        for token, trained in zip(row.ids, row.trained, strict=True)
    )


def test_an_answer_that_was_cut_off_is_closed_by_the_template_and_one_that_ended_is_not_closed_twice(llama):
    closing = llama.tokenizer.convert_tokens_to_ids("<|im_end|>")
    played = episodes(llama, [Counting() for _ in range(12)], sampling=Sampling(max_tokens=25, temperature=1.5))
    kinds = set()
    for episode in played:
        place = 0
        for turn in episode.turns[:-1]:
            place = episode.trained.index(True, place)
            end = place + len(turn.ids)
            kinds.add(turn.finished)
            following = episode.ids[end]
            assert (following == closing) is not turn.finished
            assert not episode.trained[end]
            place = end
    assert kinds == {True, False}


def test_rewards_turns_and_messages_are_kept_and_an_episode_says_whether_it_was_over(llama):
    environment = Counting(enough=2)
    (episode,) = episodes(llama, [environment], sampling=SAMPLING)
    assert episode.done
    assert episode.turns == environment.heard
    assert episode.rewards == [float(len(turn.ids) < 10) for turn in episode.turns]
    assert [message["role"] for message in episode.messages] == ["user", "assistant", "user", "assistant", "user"]
    (cut,) = episodes(llama, [Counting(enough=9)], sampling=SAMPLING, turns=2)
    assert (cut.done, len(cut.turns)) == (False, 2)
    (full,) = episodes(llama, [Counting(enough=9)], sampling=SAMPLING, window=len(cut.ids) + 5)
    assert not full.done
    assert len(full.ids) <= len(cut.ids) + 5
    with pytest.raises(ValueError, match="opening of episode 0"):
        episodes(llama, [Counting()], sampling=SAMPLING, window=20)


def test_messages_of_tools_are_appended_by_the_template(llama):
    class Tool:
        def reset(self, seed):
            return [{"role": "user", "content": "Think."}]

        def step(self, answer):
            return Reply(says=[{"role": "tool", "content": "hello"}, {"role": "user", "content": "And now?"}])

    (episode,) = episodes(llama, [Tool()], sampling=SAMPLING, turns=2)
    assert "<|im_start|>tool\nhello<|im_end|>\n<|im_start|>user\nAnd now?" in llama.tokenizer.decode(episode.ids)


def test_an_episode_is_the_same_alone_and_the_plain_sampler_plays_the_same(policy, monkeypatch):
    def play(count, rows):
        return episodes(policy, [Counting() for _ in range(count)], sampling=SAMPLING, seed=3, rows=rows)

    together = play(5, 4)
    assert len({tuple(episode.ids) for episode in together}) == 5
    assert play(1, 1)[0].ids == together[0].ids
    monkeypatch.setattr(own, "can_write", lambda model: False)
    again = play(5, 4)
    assert [episode.ids for episode in again] == [episode.ids for episode in together]
    assert plain.write is not own.write


def test_the_same_opening_is_read_once_and_what_was_said_is_never_read_again(llama, monkeypatch):
    read = []
    really = own.run

    def watched(backbone, stream, ids, positions, device):
        read.extend(ids)
        return really(backbone, stream, ids, positions, device)

    assert own.can_write(llama.model)
    monkeypatch.setattr(own, "run", watched)
    played = episodes(llama, [Counting() for _ in range(4)], sampling=SAMPLING)
    opening = played[0].trained.index(True)
    written = sum(len(episode.ids) - opening - 1 for episode in played)  # the last token of all is never read
    assert len(read) == opening + written


def test_a_template_that_does_not_close_answers_is_refused():
    with pytest.raises(TemplateRefused, match="without a stop token"):
        episodes(make_policy("llama", tokenizer_of("glm")), [Counting()], sampling=SAMPLING)


def test_no_environments_no_episodes(llama):
    assert episodes(llama, []) == []
