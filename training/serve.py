"""The model server: one process that keeps models loaded. It knows no Django; the web asks it over HTTP.

`python -m training.serve --port 8001` listens itself; `--fd N` takes over a listening socket from the supervisor, which
starts this process at the first connection. After `--idle` seconds without a request it ends, and its memory is free.

POST /score    {"model_path", "messages", "context", "text"} -> {"tokens": [...], "reward": number}
POST /generate {"model_path", "messages", "context", "n", "max_tokens", "temperature", "seed"} -> {"answers": [...]}
GET  /healthz  what is loaded

A refusal is {"code", "message", "action"}. Only models below the data folder are read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

WAITING = 16  # requests that may wait for the processor; the next one is told to come again
ROOT = Path(__file__).resolve().parents[1]


class Refusal(Exception):
    """A request that cannot be answered, with the status and the words for it."""

    def __init__(self, status: int, code: str, message: str, action: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.action = status, code, message, action

    def response(self) -> JSONResponse:
        """As the client gets it."""
        body = {"code": self.code, "message": self.message, "action": self.action}
        headers = {"Retry-After": "5"} if self.status == 503 else {}
        return JSONResponse(body, status_code=self.status, headers=headers)


class Message(BaseModel):
    """One turn; what else a turn may hold (tool calls, say) is passed on."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str


class Passage(BaseModel):
    """One passage of a prompt's context."""

    model_config = ConfigDict(extra="allow")
    title: str = ""
    text: str


class Asked(BaseModel):
    """What both requests hold."""

    model_path: str
    messages: list[Message] = Field(min_length=1)
    context: list[Passage] = []

    def plain(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Messages and passages as the engine takes them."""
        return [one.model_dump() for one in self.messages], [one.model_dump() for one in self.context]


class ScoreAsked(Asked):
    """A text to be scored as an answer."""

    text: str = Field(max_length=100_000)


class GenerateAsked(Asked):
    """A prompt to be answered."""

    n: int = Field(1, ge=1, le=16)
    max_tokens: int = Field(128, ge=1, le=2048)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**31)


@dataclass
class Models:
    """Loaded models, the least recently used leaving when they hold more than `budget` bytes together."""

    data: Path
    budget: int
    loaded: OrderedDict[str, tuple[Any, int]] = field(default_factory=OrderedDict)

    def get(self, model_path: str) -> Any:
        """A scorer or a policy, by what its `redpen.json` says it is; a base model's folder gives the base as a
        policy.
        """
        folder = Path(model_path).resolve()
        if not folder.is_relative_to(self.data) or not folder.is_dir():
            raise Refusal(404, "model.missing", "There is no such model.", "Choose another one, or train it again.")
        key = f"{folder}@{folder.stat().st_mtime_ns}"
        if key in self.loaded:
            self.loaded.move_to_end(key)
            return self.loaded[key][0]
        model = self._load(folder)
        network = model.policy.model if hasattr(model, "head") else model.model
        size = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
        while self.loaded and sum(held for _, held in self.loaded.values()) + size > self.budget:
            self.loaded.popitem(last=False)
        self.loaded[key] = (model, size)
        return model

    def _load(self, folder: Path) -> Any:
        from training import engine

        card_file = folder / "redpen.json"
        card = json.loads(card_file.read_text()) if card_file.exists() else {"kind": "base"}
        if card["kind"] == "base":
            return engine.policy.Policy.open(folder, None)
        base = Path(card["base"])
        if not base.exists():  # restored to another place: the bases are where they always are below the data folder
            base = self.data / "base" / base.name
        base = engine.models.ensure_base(base)
        if card["kind"] == "span_reward_model":
            return engine.scoring.SpanScorer.load(folder, base=base)
        if card["kind"] == "policy":
            policy = engine.policy.Policy.open(base, folder, precision=card.get("precision", "fp32"))
            policy.passage_tokens = card.get("prompt", {}).get("passage_tokens", 0)
            return policy
        kind = card["kind"].replace("_", " ")
        told = f"This model is of the kind “{kind}”. Policies can be asked for answers, span reward models for scores."
        raise Refusal(422, "model.kind", told)


def score(models: Models, body: dict[str, Any]) -> dict[str, Any]:
    """Every token of the answer with what the model thinks of it, and one number for all."""
    from training.engine.scoring import SpanScorer, TooLongToScore, disjoint, reward

    asked = ScoreAsked.model_validate(body)
    scorer = models.get(asked.model_path)
    if not isinstance(scorer, SpanScorer):
        raise Refusal(422, "model.kind", "This model does not score answers.", "Choose a span reward model.")
    try:
        tokens = scorer.score(*asked.plain(), asked.text)
    except TooLongToScore as error:
        raise Refusal(422, "text.too_long", str(error), "Score a shorter answer.") from error
    return {"tokens": disjoint(tokens), "reward": reward(tokens)}


def generate(models: Models, body: dict[str, Any]) -> dict[str, Any]:
    """Answers of a policy (or of a base model), with the tokens and log-probabilities that they were drawn with."""
    from training import engine

    asked = GenerateAsked.model_validate(body)
    policy = models.get(asked.model_path)
    if not isinstance(policy, engine.policy.Policy):
        raise Refusal(422, "model.kind", "This model writes no answers.", "Choose a policy or a base model.")
    messages, context = asked.plain()
    ids = engine.scoring.prompt_ids(policy.tokenizer, messages, context, passage_tokens=policy.passage_tokens)
    window = getattr(policy.model.config, "max_position_embeddings", None)
    if window and len(ids) + asked.max_tokens > window:
        raise Refusal(
            422,
            "prompt.too_long",
            f"The prompt has {len(ids)} tokens; with {asked.max_tokens} new ones it is longer than the {window} that "
            "this model reads.",
            "Ask for fewer tokens or shorten the prompt.",
        )
    sampling = engine.rollouts.Sampling(max_tokens=asked.max_tokens, temperature=asked.temperature, top_p=asked.top_p)
    drawn = engine.rollouts.sample(policy, [ids], asked.n, sampling=sampling, seed=asked.seed)
    return {
        "answers": [
            {
                "text": one.text,
                "token_ids": one.ids,
                "logprobs": one.logprobs,
                "finished": one.finished,
                "seed": one.seed,
            }
            for one in drawn
        ]
    }


def application(models: Models, *, on_request: Callable[[], None] = lambda: None) -> Starlette:
    """The server's three endpoints."""
    turn = threading.Lock()  # one computation at a time: two would only take the cores from each other
    waiting = threading.Semaphore(WAITING)

    def answer(work: Callable[[Models, dict[str, Any]], dict[str, Any]]) -> Callable[[Request], Any]:
        def in_turn(body: dict[str, Any]) -> dict[str, Any]:
            with turn:
                on_request()
                return work(models, body)

        async def endpoint(request: Request) -> JSONResponse:
            on_request()
            if not waiting.acquire(blocking=False):
                busy = "The model server has as many requests as it can hold."
                return Refusal(503, "model_server.busy", busy, "Try again in a few seconds.").response()
            try:
                body = await request.json()
                return JSONResponse(await run_in_threadpool(in_turn, body))
            except (ValueError, ValidationError) as error:
                return unreadable(error).response()
            except Refusal as refusal:
                return refusal.response()
            finally:
                waiting.release()
                on_request()

        return endpoint

    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "loaded": [key.rsplit("@", 1)[0] for key in models.loaded]})

    return Starlette(
        routes=[
            Route("/score", answer(score), methods=["POST"]),
            Route("/generate", answer(generate), methods=["POST"]),
            Route("/healthz", healthz),
        ]
    )


def unreadable(error: ValueError) -> Refusal:
    """What is wrong with a request, field by field; an unusable base model comes here too."""
    if isinstance(error, ValidationError):
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return Refusal(422, "request.invalid", faults)
    if isinstance(error, json.JSONDecodeError):
        return Refusal(400, "request.unreadable", f"The request is not JSON: {error}.")
    return Refusal(422, "model.unusable", str(error))


async def serve(app: Starlette, listener: socket.socket, *, idle: float, last: list[float]) -> None:
    """Answer until nobody has asked for `idle` seconds (0: for ever) or the process is told to stop."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))

    async def watch() -> None:
        while not server.should_exit:
            await asyncio.sleep(min(1.0, idle / 4))
            if time.monotonic() - last[0] > idle:
                server.should_exit = True

    watcher = asyncio.create_task(watch()) if idle else None
    await server.serve(sockets=[listener])
    if watcher:
        watcher.cancel()


def main(arguments: list[str] | None = None) -> int:
    """Parse, listen, serve."""
    parser = argparse.ArgumentParser(
        prog="python -m training.serve", description="Keep models loaded and answer for them."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="a listening socket that was inherited")
    where.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var"))
    parser.add_argument("--idle", type=float, default=900.0, help="seconds without a request before it ends; 0: never")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("TRAIN_THREADS") or os.cpu_count() or 1))
    parser.add_argument("--memory", type=float, default=0.0, help="GB that models may hold; 0: a third of all")
    chosen = parser.parse_args(arguments)

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # libraries talking to each other
    if chosen.fd is not None:
        listener = socket.socket(fileno=chosen.fd)
    else:
        listener = socket.create_server((chosen.host, chosen.port))
    last = [time.monotonic()]

    def on_request() -> None:
        last[0] = time.monotonic()

    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    budget = int(chosen.memory * 1e9) if chosen.memory else machine // 3
    app = application(Models(data=chosen.data.resolve(), budget=budget), on_request=on_request)
    import torch

    torch.set_num_threads(chosen.threads)
    asyncio.run(serve(app, listener, idle=chosen.idle, last=last))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
