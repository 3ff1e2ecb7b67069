"""Loaded by schemathesis itself (SCHEMATHESIS_HOOKS): how it sends what it does not know."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    """The schema says text: lines."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value).encode()
