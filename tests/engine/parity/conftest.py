"""The oracle: TRL 1.16's trainers and our engine, on the same weights, the same adapter and the same batch.

Equal to 1e-4 in float32, loss and every gradient (`ours.assert_same`): SFT, reward model, DPO and its kin, KTO, ORPO,
SimPO, GRPO and its variants, RLOO; and over eight steps (`test_steps`). Where the two differ, a test shows both:

- ORPO: TRL's likelihood covers the prompt, and is a mean over each micro-batch's tokens. Ours takes it as an option.
- CPO adds a likelihood to SimPO unless cpo_alpha is 0. An answer cut down to nothing makes CPO and ORPO NaN.
- KTO: TRL has a zero point for each micro-batch, ours one for the step. BNPO is a mean of micro-batches' means.
- GRPO, Dr. GRPO and RLOO with truncated answers masked: TRL still divides by them; RLOO's loss (not its gradient) keeps
  them too.
- Reward model: without a padding token of its own a base is read before its stop token (transformers).
- Texts: TRL trains what a template writes after the stop token; a pair is parted where the earlier of its two answers
  begins.
"""

import pytest
from transformers import AutoTokenizer

pytest.register_assert_rewrite("tests.engine.parity.ours")

from tests.engine.parity import ours  # noqa: E402 - asserts in it are to be rewritten
from tests.engine.parity.start import make_start  # noqa: E402


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    return make_start(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="session")
def tokenizer(start):
    return AutoTokenizer.from_pretrained(start.base)


@pytest.fixture(scope="session")
def policy(start):
    """Nobody moves it: every step here is taken at a learning rate of 0."""
    return ours.make_policy(start)


@pytest.fixture(scope="session")
def follower(start):
    """A policy that goes on from another run's adapter, its reference."""
    return ours.make_policy(start, parent=True)
