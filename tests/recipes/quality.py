"""How good a policy's answers really are, by the world's own judgement."""

from training.engine.policy import Policy
from training.engine.rollouts import Sampling, sample
from training.engine.scoring import prompt_ids


def true_quality(world, base, adapter, *, prompts=240, seed=11):
    """Mean quality (0 to 1) of one answer each to held-out prompts, at temperature 0.7."""
    asked = world.prompts(prompts, seed=seed, split="test")
    policy = Policy.open(base, adapter)
    ids = [prompt_ids(policy.tokenizer, one.messages, [], passage_tokens=0) for one in asked]
    drawn = sample(policy, ids, 1, sampling=Sampling(max_tokens=120, temperature=0.7), seed=seed)
    return sum(world.true_quality(asked[one.prompt], one.text) for one in drawn) / len(drawn)
