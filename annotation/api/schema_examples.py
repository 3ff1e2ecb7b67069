"""Examples in the schema. A test sends each of them."""

from __future__ import annotations

from typing import Any

ID = "019ac0de-0000-7000-8000-000000000001"

RESPONSE: dict[str, Any] = {
    "id": "answer-81",
    "messages": [{"role": "user", "content": "How long is the warranty?"}],
    "text": "Two years, and three for the battery.",
    "model": "shop-assistant-7",
    "sampling": {"temperature": 0.7, "max_tokens": 300},
    "user": "u_4711",
    "conversation": "chat-9",
    "turn": 1,
    "language": "en",
    "metadata": {"surface": "web"},
}
REACTION: dict[str, Any] = {
    "id": "tap-17",
    "response": "answer-81",
    "kind": "dislike",
    "user": "u_4711",
    "at": "2026-11-24T20:00:00Z",
    "text": "The battery has two years, too.",
}
SPAN: dict[str, Any] = {
    "id": "tap-18",
    "response": "answer-81",
    "kind": "dislike",
    "user": "u_4711",
    "spans": [{"start": 11, "end": 36, "quote": "and three for the battery", "critique": "Invented."}],
}
FEEDBACK: dict[str, Any] = {
    "rating": {
        "type": "rating",
        "id": "rating-3",
        "response": "answer-81",
        "user": "u_4711",
        "dimension": "helpful",
        "value": 4,
    },
    "rewrite": {"type": "rewrite", "id": "rewrite-5", "response": "answer-81", "text": "Two years, battery included."},
    "span": {
        "type": "span",
        "id": "span-7",
        "response": "answer-81",
        "start": 0,
        "end": 9,
        "quote": "Two years",
        "sentiment": 1,
    },
    "outcome": {
        "type": "outcome",
        "id": "outcome-2",
        "response": "answer-81",
        "stage": "hindsight",
        "action": "sent the battery in",
        "result": "it was repaired for free",
        "value": 1,
    },
}
STORED = {"status": "stored", "id": ID, "external_id": "answer-81"}
PROBLEM = {
    "title": "This was refused",
    "status": 422,
    "code": "invalid",
    "detail": "There is no kind 'applause'. There are: dislike, like, shown.",
    "problems": [
        {
            "pointer": "/kind",
            "message": "There is no kind 'applause'. There are: dislike, like, shown.",
            "code": "invalid",
        }
    ],
}
BATCH = {
    "stored": 1,
    "repeated": 0,
    "refused": 1,
    "retry": 0,
    "results": [STORED, {"status": "refused", "external_id": "tap-19", "problem": PROBLEM}],
}
