from tests.annotation.conftest import server, shop  # noqa: F401 - fixtures
from tests.frontend.node import node  # noqa: F401 - a fixture
