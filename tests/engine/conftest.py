import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from tests.tiny_base import tiny_base
from training.engine.models import load_base
from training.engine.tiny import make_tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base():
    """The tiny base model's folder."""
    return tiny_base()


@pytest.fixture(scope="session")
def tokenizer(base):
    return load_base(base)[1]


@pytest.fixture(scope="session")
def plain_tokenizer():
    """A small byte-level tokenizer that needs no model: it splits rare characters into several tokens."""
    texts = ["The cat sat on the moon. She said hello.", "hello hello the the cat cat, moon moon."] * 20
    return make_tokenizer(texts, vocabulary=300)
