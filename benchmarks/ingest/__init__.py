"""Reactions taken in per second: `make bench-ingest`, beside Arize Phoenix and MLflow on the same machine.

The work: a reaction (its own id, kind, user, time) about one of 20,000 answers that the system already has. Only
durable replies count: whatever a reply acknowledged is counted in the system's database afterwards, and fsync is on
for all three, on Postgres servers of one kind with the same settings. Peers get their best settings of those tried
(`benchmarks/peers/servers.py` says which). Ours is `manage.py up` as shipped, with a real key.

(a) One reaction a request over 8 keep-alive connections. (b) 100 a request, over 4 or 8 connections, whichever each
system is faster with. (c) Ours alone: 1,000 a request, and NDJSON of 100,000 in one, beside Postgres' own COPY of such
rows: into a staging table and from there by INSERT ... ON CONFLICT, with the look-up of the answer, into the same table
(the bar); and bare, into a table of the same shape with and without its indexes.

Requests are prepared in a file and replayed by a small C program (`client.c`), or, without a compiler, by Python
(`replay.py`), which the output says. Measured in turns (peer, ours, peer, ours), medians of the rounds. The last line
is one JSON object with `single_vs_best_peer`, `batch_vs_best_peer` and `share_of_copy`.
"""
