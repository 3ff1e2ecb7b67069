from tests.frontend.node import node  # noqa: F401 - a fixture
