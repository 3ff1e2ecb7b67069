"""Hands that are no reader's: taps faster than one can read, the same words again and again, against everybody."""

from __future__ import annotations

from collections import Counter

import numpy as np

from annotation.honesty.evidence import Evidence, Found, Reason, runs
from annotation.honesty.population import Population

BURST, WITHIN = 10, 20.0  # so many different answers in so many seconds
COPIES = 6
LONG = 12  # letters of a text that says something: "thanks" is everybody's
OPINIONS = 10
AGREE = 0.35  # how much users differ in how far they agree with others, as a share of the full agreement


def bursts(evidence: Evidence) -> Found:
    """Reactions to one answer after the other, faster than anybody reads.

    Reactions with one and the same time were sent without a time of their own, and tell nothing here.
    """
    found: Found = []
    begins, ends = runs(evidence.taps.user, evidence.judged)
    for user in np.flatnonzero(ends - begins >= BURST):
        at, answer = (getattr(evidence.taps, name)[begins[user] : ends[user]] for name in ("at", "answer"))
        new = np.concatenate([[True], (at[1:] > at[:-1]) & (answer[1:] != answer[:-1])])
        at = at[new]
        if len(at) < BURST:
            continue
        took = at[BURST - 1 :] - at[: len(at) - BURST + 1]
        quick = np.flatnonzero(took < WITHIN)
        if not len(quick):
            continue
        inside = np.zeros(len(at), dtype=bool)
        for start in quick:
            inside[start : start + BURST] = True
        taps, share = int(inside.sum()), float(inside.mean())
        strength = 0.92 if taps >= 25 and share >= 0.5 else 0.7 if taps >= 25 else 0.5
        words = (
            f"{taps} of {len(at)} reactions came faster than anybody reads: {BURST} answers in {took.min():.1f} seconds"
        )
        found.append((int(user), Reason("burst", strength, words, {"taps": taps, "of": len(at)})))
    return found


def same(text: str) -> str:
    """A text without what does not matter: case, spaces, punctuation. '' where too little is left to be a text."""
    told = " ".join("".join(letter if letter.isalnum() else " " for letter in text.casefold()).split())
    return told if len(told) >= LONG else ""


def copies(evidence: Evidence) -> Found:
    """Writes the same words under answer after answer; others do too."""
    found: Found = []
    begins, ends = runs(evidence.taps.user, evidence.judged)
    for user in np.flatnonzero(ends - begins >= COPIES):
        texts = [text for text in evidence.taps.text[begins[user] : ends[user]] if text]
        taps = int(ends[user] - begins[user])
        if len(texts) < COPIES:
            continue
        counted = Counter(texts)
        repeated = len(texts) - len(counted)
        share = (repeated + 1) / taps
        if repeated < COPIES - 1 or len(counted) > len(texts) / 2:
            continue
        others = max(evidence.written_by.get(text, 0) for text in counted)
        # a ready-made text that a page offers is under some reactions of many; a copier has it under most of their own
        strength = min(0.97, (0.5 if share < 0.4 else 0.92) + (0.04 if others and share >= 0.25 else 0.0))
        words = f"{len(texts)} texts, but only {len(counted)} different ones, under {taps} reactions"
        if others:
            words += f"; {others} other {'user writes' if others == 1 else 'users write'} the same again and again"
        data = {"texts": len(texts), "different": len(counted), "others": others}
        found.append((int(user), Reason("copies", strength, words, data)))
    return found


def disagreement(evidence: Evidence, population: Population) -> Found:
    """Finds good what others find bad, and the other way round. Some people do; so this alone leaves nobody out."""
    rows = evidence.exposures
    opinion = rows.good.astype(np.int8) - rows.bad.astype(np.int8)
    said = np.flatnonzero(opinion)
    if not len(said):
        return []
    _, place = np.unique(rows.answer[said], return_inverse=True)
    total = np.bincount(place, weights=opinion[said])
    count = np.bincount(place)
    mine, own, voters = rows.user[said], opinion[said], count[place] - 1
    on_answer = (total[place] - own) / np.maximum(voters + 2, 1)
    tilt = np.array([_tilt(population, version) for version in evidence.versions])
    others = np.where(voters >= 3, on_answer, tilt[rows.version[said]])
    judged = mine < evidence.judged
    mine, own, others = mine[judged], own[judged], others[judged]
    size = evidence.judged
    n = np.bincount(mine, minlength=size)
    apart = np.bincount(mine, weights=own * others - others**2, minlength=size)
    chance = np.bincount(mine, weights=others**2 * (1 - others**2), minlength=size)
    spread = AGREE * np.bincount(mine, weights=np.abs(others), minlength=size)
    agrees = np.bincount(mine, weights=own * others > 0, minlength=size)
    found: Found = []
    for user in np.flatnonzero(n >= OPINIONS):
        z = apart[user] / np.sqrt(chance[user] + spread[user] ** 2 + 1e-9)
        if z > -4:
            continue
        strength = float(min(0.85, 0.5 + 0.15 * (-z - 4)))
        words = f"is of the others' opinion on {int(agrees[user])} of {int(n[user])} answers"
        found.append(
            (int(user), Reason("disagrees", strength, words, {"agrees": int(agrees[user]), "of": int(n[user])}))
        )
    return found


def _tilt(population: Population, version: str) -> float:
    good, bad = population.expected(version, "good"), population.expected(version, "bad")
    return (good - bad) / max(good + bad, 1e-6)
