"""Systems that others use for the same work, installed and started by a benchmark in an environment of their own."""
