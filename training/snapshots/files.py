"""A snapshot on disk: rows.jsonl, rows.parquet and manifest.json in one folder, which is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from training.snapshots.rows import Tally, canonical, row_hash

BATCH = 500  # rows of a Parquet row group


def write(
    folder: Path,
    rows: Iterable[dict[str, Any]],
    *,
    query: dict[str, Any],
    labels: list[dict[str, Any]],
    left_out: dict[str, Any] | None = None,
    erased: list[dict[str, Any]] | None = None,
) -> dict:
    """Write `rows` into `folder` and return the manifest. Whatever lay there before is replaced in one step.

    `left_out` counts what is not in it, because its users are not believed; `erased` says what was taken out later.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        tally, content = Tally(), hashlib.sha256()
        with (
            (draft / "rows.jsonl").open("w", encoding="utf-8") as lines,
            ParquetRows(draft / "rows.parquet") as parquet,
        ):
            for row in rows:
                line = canonical(row)
                digest = row_hash(line)
                lines.write(line + "\n")
                parquet.add(row, digest.hex())
                content.update(digest)
                tally.add(row)
        manifest = {
            "content_hash": content.hexdigest(),
            "counts": {**tally.as_json(), **({"left_out": left_out} if left_out else {})},
            "query": query,
            "labels": labels,
            **({"erased": erased} if erased else {}),
        }
        (draft / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", "utf-8")
        for path in [*draft.iterdir(), draft]:
            _flush(path)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        _flush(folder.parent)
        return manifest
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def read(folder: Path, *, split: str | None = None, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a snapshot, one at a time."""
    with (folder / "rows.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if split in (None, row["split"]) and kind in (None, row["kind"]):
                yield row


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def content_hash(folder: Path) -> str:
    """The hash of what lies there now: compare it with the manifest's."""
    content = hashlib.sha256()
    with (folder / "rows.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            content.update(row_hash(line.removesuffix("\n")))
    return content.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ParquetRows:
    """Rows by batches into one Parquet file; what differs between kinds stays empty where it does not apply."""

    def __init__(self, path: Path) -> None:
        import pyarrow as arrow  # heavy: never in the web process
        import pyarrow.parquet as parquet

        text, whole = arrow.string(), arrow.int32()
        words = ("split", "kind", "prompt_id", "messages", "context", "response_id", "text")
        span = [("id", text), ("start", whole), ("end", whole), ("quote", text), ("sentiment", whole)]
        span += [("severity", whole), ("label", text), ("critique", text), ("replacement", text)]
        span += [("author", text), ("origin", text)]
        tokens = arrow.list_(whole)
        fields = [("response_id", text), ("text", text), ("token_ids", tokens)]
        answer = arrow.struct(fields)
        self._schema = arrow.schema(
            [
                *((name, text) for name in words),
                ("spans", arrow.list_(arrow.struct(span))),
                ("reviewed", arrow.bool_()),
                ("a", answer),
                ("b", answer),
                ("choice", text),
                ("strength", whole),
                ("token_ids", tokens),
                ("token_logprobs", arrow.list_(arrow.float64())),
                ("answers", arrow.list_(arrow.struct([*fields, ("place", whole)]))),
                ("chosen", text),
                ("better", answer),
                ("dimension", text),
                ("value", arrow.float64()),
                ("verdict", text),
                ("polarity", whole),
                ("silent", arrow.bool_()),
                ("records", arrow.list_(text)),
                ("hash", text),
            ]
        )
        self._arrow = arrow
        self._writer = parquet.ParquetWriter(path, self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any], digest: str) -> None:
        nested = {name: json.dumps(row[name], ensure_ascii=False) for name in ("messages", "context")}
        self._rows.append({**row, **nested, "hash": digest})
        if len(self._rows) >= BATCH:
            self._write()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_batch(self._arrow.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._write()
        self._writer.close()
