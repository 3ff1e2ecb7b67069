"""Rings: users who find the same answers good together, answers that others do not find good.

Pairs of users who liked far more answers together than their own rates give are joined to groups; what a group likes
together is its list; whoever likes far more of the list than of anything else belongs to it. An answer's list of likers
is cut to CROWD users, always the same ones, so that the work stays bounded; growing finds the rest of a ring.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np

from annotation.honesty.evidence import Evidence, Found, Reason, percent, surely
from annotation.honesty.population import Population, log10_at_least

CROWD = 48  # likers of an answer that are paired
TOGETHER = 5  # answers that two liked
PAIR = 1e-7  # chance below which two are no coincidence
MEMBERS = 3
SHARE = 0.6  # of the list that a member likes
FEWER = 0.5  # others like at most this share of what members like
OWN = 10.0  # concentration of a user's own rate elsewhere


def rings(evidence: Evidence, population: Population) -> Found:
    rows = evidence.exposures
    users = len(evidence.users)
    shown = np.bincount(rows.user, minlength=users)
    liked = np.bincount(rows.user, weights=rows.good, minlength=users)
    a, b = population.good.at(population.good.mean)
    rate = (liked + a) / (shown + a + b)
    pairs = _pairs(rows, users)
    if not pairs:
        return []
    seen = _seen(rows, {user for pair in pairs for user in pair})
    edges = []
    for (one, two), k in pairs.items():
        common = len(seen[one] & seen[two])
        if _at_least(k, max(0.3, common * rate[one] * rate[two])) < PAIR:
            edges.append((one, two))
    found: dict[int, Reason] = {}
    for core in _groups(edges):
        for user, reason in _ring(evidence, population, core):
            if user not in found or reason.strength > found[user].strength:
                found[user] = reason
    return list(found.items())


def _pairs(rows: Any, users: int) -> dict[tuple[int, int], int]:
    """How many answers two users liked, of those who liked at least TOGETHER that somebody else liked."""
    good = np.flatnonzero(rows.good)
    # an order of users that has nothing to do with them, and is the same everywhere
    rank = np.argsort(np.argsort((np.arange(users, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)))
    order = good[np.lexsort((rank[rows.user[good]], rows.answer[good]))]
    answer, user = rows.answer[order], rows.user[order].astype(np.int64)
    _, begin, count = np.unique(answer, return_index=True, return_counts=True)
    keep = np.arange(len(order)) - np.repeat(begin, count) < CROWD
    keep &= np.repeat(count, count) >= 2
    user, answer = user[keep], answer[keep]
    often = np.bincount(user, minlength=users) >= TOGETHER
    keep = often[user]
    user, answer = user[keep], answer[keep]
    codes = []
    for gap in range(1, CROWD):  # each with the one `gap` places on, while that is at the same answer
        same = answer[gap:] == answer[:-gap]
        if not same.any():
            break
        one, two = user[:-gap][same], user[gap:][same]
        codes.append(np.minimum(one, two) * users + np.maximum(one, two))
    if not codes:
        return {}
    code, times = np.unique(np.concatenate(codes), return_counts=True)
    many = times >= TOGETHER
    return {(int(c // users), int(c % users)): int(k) for c, k in zip(code[many], times[many], strict=True)}


def _seen(rows: Any, users: set[int]) -> dict[int, set[int]]:
    member = np.isin(rows.user, list(users))
    seen: dict[int, set[int]] = defaultdict(set)
    for user, answer in zip(rows.user[member].tolist(), rows.answer[member].tolist(), strict=True):
        seen[user].add(answer)
    return seen


def _at_least(k: int, mean: float) -> float:
    """Poisson chance of k or more, where k is above the mean: a bound that is close enough."""
    if k <= mean:
        return 1.0
    return math.exp(k - mean + k * math.log(mean / k))


def _groups(edges: list[tuple[int, int]]) -> list[set[int]]:
    parent: dict[int, int] = {}

    def top(one: int) -> int:
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for one, two in edges:
        parent[top(one)] = top(two)
    groups: dict[int, set[int]] = defaultdict(set)
    for one in list(parent):
        groups[top(one)].add(one)
    return [group for group in groups.values() if len(group) >= MEMBERS]


def _ring(evidence: Evidence, population: Population, core: set[int]) -> Found:
    """The members of one ring among the judged; none where the group just likes what everybody likes."""
    rows = evidence.exposures
    inside = np.isin(rows.user, list(core))
    answers, place = np.unique(rows.answer, return_inverse=True)
    seen_in = np.bincount(place, weights=inside, minlength=len(answers))
    liked_in = np.bincount(place, weights=inside & rows.good, minlength=len(answers))
    listed = (liked_in >= MEMBERS) & (liked_in >= SHARE * seen_in)
    if listed.sum() < TOGETHER:
        return []
    on_list = listed[place]
    users = len(evidence.users)
    shown = np.bincount(rows.user, minlength=users)
    liked = np.bincount(rows.user, weights=rows.good, minlength=users)
    shown_list = np.bincount(rows.user, weights=on_list, minlength=users)
    liked_list = np.bincount(rows.user, weights=on_list & rows.good, minlength=users)
    member = (shown_list >= TOGETHER) & (liked_list >= SHARE * shown_list)
    others = on_list & ~member[rows.user]
    believed = (rows.good & others).sum() + population.good.mean * 10
    outside = float(believed / (others.sum() + 10))
    if member.sum() < MEMBERS or outside > FEWER * liked_list[member].sum() / shown_list[member].sum():
        return []
    found: Found = []
    for user in np.flatnonzero(member[: evidence.judged]):
        a, b = population.good.at(max(outside, population.good.mean))
        elsewhere = (liked[user] - liked_list[user] + a) / (shown[user] - shown_list[user] + a + b)
        mean = float(np.clip(max(elsewhere, outside), 1e-3, 0.95))
        k, n = int(liked_list[user]), int(shown_list[user])
        strength = min(0.97, surely(log10_at_least(k, n, mean * OWN, (1 - mean) * OWN), 4.0))
        if strength >= 0.4:
            words = (
                f"likes {k} of the {n} answers shown that a group of {int(member.sum())} users likes together; "
                f"others like {percent(outside)} of these"
            )
            found.append(
                (int(user), Reason("ring", strength, words, {"liked": k, "shown": n, "group": int(member.sum())}))
            )
    return found
