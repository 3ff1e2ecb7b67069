"""A process of its own: NDJSON on stdin, Parquet on stdout. Knows no Django. `argv[1]`: the columns and their types."""

import json
import os
import sys

import pyarrow as arrow
import pyarrow.parquet as parquet

ROWS, BYTES = 5000, 8 << 20  # of a row group
TYPES = {
    "text": arrow.string(),
    "time": arrow.timestamp("us", tz="UTC"),
    "number": arrow.float64(),
    "whole": arrow.int64(),
    "truth": arrow.bool_(),
}


def main() -> None:
    columns = json.loads(sys.argv[1])
    schema = arrow.schema([(name, TYPES[kind]) for name, kind in columns.items()])
    times = [name for name, kind in columns.items() if kind == "time"]
    texts = arrow.schema([(name, arrow.string() if name in times else TYPES[columns[name]]) for name in columns])
    with os.fdopen(os.dup(1), "wb") as out, parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        group, size = [], 0

        def flush() -> None:
            batch = arrow.Table.from_pylist(group, schema=texts)
            writer.write_table(batch.cast(schema))
            group.clear()

        for line in sys.stdin.buffer:
            group.append(json.loads(line))
            size += len(line)
            if len(group) >= ROWS or size >= BYTES:
                flush()
                size = 0
        if group:
            flush()


main()
