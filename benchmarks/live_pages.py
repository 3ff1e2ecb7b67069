"""Every Live page and the rates API with a million reactions in the database: `make bench-live`.

Over a real `manage.py up`, one visitor at a time, for each filter that the pages offer. Times are the server's own (its
request log) and, beside them, what the client saw. ARGS="--reactions 100000" is quicker.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import statistics
import time
from collections import defaultdict
from urllib.parse import urlencode

import httpx

from benchmarks.harness import finish, percentile, say, sign_in
from redpen.services import addresses
from tests.running import Running, running

VISITS = 25
PASSWORD = "a long enough password"
P = "/p/bench/live"
WAITS = "SELECT EXISTS (SELECT FROM annotation_reaction WHERE xact >= (SELECT done FROM annotation_countingcursor))"


def prepare(redpen: Running, reactions: int) -> dict[str, object]:
    """The project with its rows, counted; what the pages need to know of it."""
    os.environ["DATABASE_URL"] = addresses.embedded_database_url(redpen.data_dir)
    os.environ["DATA_DIR"] = str(redpen.data_dir)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "redpen.settings")
    import django

    django.setup()
    from django.db import connection

    from annotation.actions import counting
    from annotation.actions.campaigns import furnish
    from annotation.models import Exposure, IntakeSettings, LiveEvent, RateCell, Reaction
    from annotation.queries.live import counted_up_to
    from benchmarks.live_data import fill
    from redpen.accounts import keys
    from redpen.accounts.models import ApiKey, Membership, Project, User

    ada = User.objects.create_user("ada@bench.redpen", PASSWORD, name="Ada")
    project = Project.objects.create(name="Bench", slug="bench")
    Membership.objects.create(project=project, user=ada, role="admin")
    furnish(project=project, actor=ada)
    IntakeSettings.objects.create(project=project, slices=["plan"])
    token = keys.new_token(test=False, public=False)
    hidden = {"prefix": keys.prefix_of(token), "secret_hash": keys.hash_of(token)}
    ApiKey.objects.create(project=project, name="bench", scopes=["read"], **hidden)
    started = time.perf_counter()
    made = fill(connection, project.pk, reactions=reactions, tell=say)
    filled = time.perf_counter() - started
    say(f"{made:,} reactions made in {filled:.0f} s; counting ...")
    started = time.perf_counter()
    while True:  # the worker's own passes may be at it too
        counting.count()
        with connection.cursor() as cursor:
            cursor.execute(WAITS)
            if not cursor.fetchone()[0]:
                break
        time.sleep(0.1)
    counted = time.perf_counter() - started
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
    lines = LiveEvent.objects.filter(project=project)
    found = {
        "token": token,
        "reactions": Reaction.objects.count(),
        "answers": lines.values("response").distinct().count(),
        "exposures": Exposure.objects.count(),
        "cells": RateCell.objects.count(),
        "fill_s": round(filled, 1),
        "count_s": round(counted, 1),
        "user": lines.filter(tap=True).order_by("-at").values_list("external_user", flat=True)[0],
        "answer": str(lines.order_by("-at").values_list("response", flat=True)[100]),
        "behind_s": round((time.time() - counted_up_to().timestamp()), 1),
    }
    connection.close()
    return found


def addresses_of(client: httpx.Client, about: dict[str, object]) -> dict[str, str]:
    """{name: address} of each page with each filter that it offers, read off the page's own form."""
    page = client.get(f"{P}/").text
    offered = {
        name: re.findall(r'<option value="?([^">]+)', re.search(rf'<select name="{name}".*?</select>', page, re.S)[0])
        + re.findall(r"<option(?: selected)?>([^<]+)<", re.search(rf'<select name="{name}".*?</select>', page, re.S)[0])
        for name in ("kind", "model", "slice", "since")
    }
    found = {"list": f"{P}/"}
    for name, values in offered.items():
        found |= {f"list {name}={value}": f"{P}/?{urlencode({name: value})}" for value in values}
    found["list user"] = f"{P}/?{urlencode({'user': about['user']})}"
    pairs = [
        {"kind": "dislike", "model": "writer-1"},
        {"kind": "regenerate", "model": "writer-5"},
        {"kind": "love", "slice": "language=fr"},
        {"kind": "dislike", "since": "week"},
        {"model": "writer-1", "slice": "plan=team"},
        {"model": "writer-1", "since": "week"},
        {"slice": "language=es", "since": "hour"},
        {"kind": "regenerate", "model": "writer-2", "slice": "plan=team", "since": "quarter"},
    ]
    found |= {f"list {urlencode(pair)}": f"{P}/?{urlencode(pair)}" for pair in pairs}
    following = re.search(r'href="([^"]*cursor=[^"]*)"', page)
    found["list next page"] = following[1].replace("&amp;", "&")
    news = re.search(r'hx-get="([^"]*/news/[^"]*)"', page)[1].replace("&amp;", "&")
    found["news"] = news
    found["news, all of it new"] = f"{P}/news/?kind=regenerate"
    found["answer"] = f"{P}/answers/{about['answer']}/"
    for period in ("day", "week", "month", "quarter"):
        for split in ("", "model", "language", "plan"):
            found[f"rates {period} {split or 'all'}"] = f"{P}/rates/?{urlencode({'since': period, 'split': split})}"
    for more in (
        {"model": "writer-2"},
        {"slice": "plan=pro"},
        {"slice": "language=en", "split": "model"},
        {"users": "with"},
    ):
        found[f"rates quarter {urlencode(more)}"] = f"{P}/rates/?{urlencode({'since': 'quarter', **more})}"
    found["send dislike of a week"] = f"{P}/send/?kind=dislike&since=week"
    found["send everything"] = f"{P}/send/"
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 90 * 86400))
    for split in ("", "model", "language", "plan"):
        query = urlencode({"since": since, "split": split, "grain": "day"})
        found[f"api rates {split or 'all'}"] = f"/api/v1/rates?{query}"
    found["api rates by the hour"] = f"/api/v1/rates?{urlencode({'grain': 'hour', 'split': 'model'})}"
    found["api rates of the project"] = "/api/v1/projects/bench/rates?split=model"
    return found


def server_times(redpen: Running, names: dict[str, str]) -> dict[str, list[float]]:
    """What the server's request log says, by the ids that we gave."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in (redpen.data_dir / "log" / "web.log").read_text().splitlines():
        if '"redpen.request"' not in line:
            continue
        entry = json.loads(line)
        if entry.get("request_id") in names:
            found[names[entry["request_id"]]].append(entry["ms"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reactions", type=int, default=1_000_000)
    wanted = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with running(DEMO="false") as redpen:
        say("starting a Redpen ...")
        redpen.start_and_wait(300)
        about = prepare(redpen, wanted.reactions)
        token = about.pop("token")
        client = sign_in(redpen, "ada@bench.redpen", PASSWORD)
        keyed = httpx.Client(base_url=redpen.url(""), headers={"Authorization": f"Bearer {token}"}, timeout=60)
        names: dict[str, str] = {}
        seen: dict[str, list[float]] = defaultdict(list)
        pages = addresses_of(client, about)
        for visit in range(VISITS + 2):  # the first two warm up what a first visit loads
            for number, (name, path) in enumerate(pages.items()):
                who = keyed if path.startswith("/api/v1/rates") else client
                request_id = f"bench-{number}-{visit}"
                started = time.perf_counter()
                answer = who.get(path, headers={"X-Request-ID": request_id})
                seconds = time.perf_counter() - started
                if answer.status_code not in (200, 204):
                    raise SystemExit(f"{path} answers {answer.status_code}: {answer.text[:500]}")
                if visit >= 2:
                    names[answer.headers.get("X-Request-ID", request_id)] = name
                    seen[name].append(seconds * 1000)
        time.sleep(1)
        server = server_times(redpen, names)
    figures = {}
    for name in pages:
        times = server.get(name) or seen[name]
        figures[name] = {
            "p50_ms": round(statistics.median(times), 1),
            "p95_ms": round(percentile(times, 0.95), 1),
            "client_p95_ms": round(percentile(seen[name], 0.95), 1),
        }
        say(f"{name:<60} {figures[name]}")
    every = [value for name in pages for value in server.get(name) or seen[name]]
    slowest = max(figures, key=lambda name: figures[name]["p95_ms"])
    finish(
        **about,
        pages=len(figures),
        timed_by="server" if server else "client",
        p50_ms=round(statistics.median(every), 1),
        p95_ms=round(percentile(every, 0.95), 1),
        slowest=slowest,
        slowest_p95_ms=figures[slowest]["p95_ms"],
        by_page=figures,
    )


if __name__ == "__main__":
    main()
