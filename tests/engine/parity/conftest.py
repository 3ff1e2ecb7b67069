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
