"""The desk of tests/annotation, for tests of the API as a whole."""

from tests.annotation.conftest import desk  # noqa: F401
