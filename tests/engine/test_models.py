"""Base models, passages, measures: the small parts."""

import json
import subprocess
import sys

import pytest
import torch

from training.engine.measures import auroc
from training.engine.models import NoSuchBase, ensure_base, load_base, register
from training.engine.passages import best_sentences, passages_text, question_of, sentences, with_passages
from training.engine.tiny import Example, Size, build_tiny


def test_importing_the_engine_and_the_recipes_loads_no_torch():
    program = (
        "import sys; import training.engine, training.recipes.registry as r\n"
        "[recipe.card() for recipe in r.RECIPES.values()]\n"
        "bad = {'torch', 'transformers', 'peft', 'accelerate', 'numpy', 'django'} & set(sys.modules)\n"
        "print(sorted(bad))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_tiny_base_is_made_the_same_twice(tmp_path):
    examples = [
        Example([{"role": "user", "content": f"Say {word}."}], [], f"{word}! 👍🏽 {word}.") for word in ("moon", "cat")
    ] * 8
    size = Size(vocabulary=300, width=16, layers=1, heads=2, inner=16, batch=4)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_tiny(tmp_path / name, size=size, examples=examples)
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_tiny_base_answers_the_worlds_questions_with_something_to_learn(base):
    from training.engine.policy import Policy
    from training.engine.rollouts import Sampling, sample
    from training.engine.scoring import prompt_ids
    from training.worlds.support import World

    world, policy = World(0), Policy.open(base, None)
    prompts = world.prompts(30, seed=3, split="test")
    ids = [prompt_ids(policy.tokenizer, p.messages, p.context, passage_tokens=0) for p in prompts]
    drawn = sample(policy, ids, 2, sampling=Sampling(max_tokens=160))
    quality = [world.true_quality(prompts[one.prompt], one.text) for one in drawn]
    assert sum(one.finished for one in drawn) > 0.9 * len(drawn)
    assert 0.1 < sum(quality) / len(quality) < 0.7
    assert max(quality) > 0.7


def test_the_registry_learns_what_a_base_is(base):
    found = register(base)
    assert found["refused"] is None
    assert found["architecture"] == "LlamaForCausalLM"
    assert 500_000 < found["parameters"] < 3_000_000
    assert found["notes"] == []
    assert found["mask"][-1] == ("Good day.<|end|>", True)
    assert json.loads(json.dumps(found))["refused"] is None


def test_a_base_that_is_not_there_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(NoSuchBase, match="Make it with"):
        load_base(tmp_path / "nothing")
    assert ensure_base(tmp_path / "other") == tmp_path / "other"
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSuchBase, match="cannot be loaded"):
        load_base(tmp_path / "empty")


def test_sentences_are_cut_where_people_cut_them():
    text = 'It is 3.5 litres. "Stop!" he said.\nهل هذا صحيح؟ Yes… no'
    assert [text[a:b] for a, b in sentences(text)][:2] == ["It is 3.5 litres.", '"Stop!"']
    assert "".join(text[a:b] for a, b in sentences(text)).replace(" ", "") == text.replace(" ", "").replace("\n", "")


def test_the_sentences_closest_to_the_question_are_shown_in_their_own_order():
    context = [
        {"title": "Garden", "text": "Roses like sun. Tanks hold two litres of water. Cats sleep."},
        {"title": "Tank", "text": "Fill the tank to the line. Birds sing."},
    ]

    def count(text):
        return len(text.split())

    chosen = best_sentences("How do I fill the tank?", context, budget=14, measure=count)
    assert [text for _, text in chosen] == ["Tanks hold two litres of water.", "Fill the tank to the line."]
    everything = passages_text("tank", context, budget=1000, measure=count)
    assert everything.splitlines() == [
        "Garden: Roses like sun. Tanks hold two litres of water. Cats sleep.",
        "Tank: Fill the tank to the line. Birds sing.",
    ]
    assert best_sentences("tank", context, budget=0, measure=count) == []


def test_passages_go_into_the_system_message_and_none_leaves_the_chat_alone():
    ask = [{"role": "user", "content": "Why?"}]
    assert with_passages(ask, "") == ask
    told = with_passages(ask, "A: b")
    assert told[0]["role"] == "system"
    assert told[1:] == ask
    assert with_passages([{"role": "system", "content": "Be kind."}, *ask], "A: b")[0]["content"].startswith("Be kind.")
    assert question_of([*ask, {"role": "assistant", "content": "So."}]) == "Why?"


def test_auroc_is_the_chance_that_a_true_case_scores_higher():
    assert auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True]) == 0.75
    assert auroc([1.0, 1.0], [True, False]) == 0.5
    assert auroc([0.2, 0.9, 0.9], [False, True, False]) == 0.75
    assert auroc([0.3], [True]) is None
    torch.manual_seed(0)
    scores, truth = torch.randn(300).round(decimals=1).tolist(), (torch.rand(300) > 0.6).tolist()
    right, wrong = ([s for s, t in zip(scores, truth, strict=True) if t is kind] for kind in (True, False))
    pairs = [(a > b) + 0.5 * (a == b) for a in right for b in wrong]
    assert auroc(scores, truth) == pytest.approx(sum(pairs) / len(pairs))
