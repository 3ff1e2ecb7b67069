"""Frozen records on disk: which (`query`), how they leave Postgres (`rows`), how they lie in files (`files`)."""
