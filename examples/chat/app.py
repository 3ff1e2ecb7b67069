"""A small chat page with Redpen's widget under each answer. `make example-chat`, or see README.md beside this file.

The server answers (with a model from Redpen's registry, through its model server, or with canned sentences), sends each
answer to Redpen with the Python client, and gives the page its id; the widget does the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients" / "python"))  # a product would `pip install redpen-client`

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from redpen_client import AsyncClient

HOW_TO_GET_KEYS = """\
The chat needs two keys of a Redpen project:
  REDPEN_KEY         may write responses and reactions; stays on this server
  REDPEN_PUBLIC_KEY  a public key for the page; its origins must list {origin}
Make them in the project's settings under API keys, or let this do it in the local demo project (`make run` must be
running, in another terminal):
  make example-chat
"""
CANNED = (
    "Fill the tank up to the mark, press the green button once, and wait until the lamp stops blinking.\n\nIf it blinks"
    " for more than five minutes, the filter is blocked: rinse it under warm water.",
    "The warranty lasts two years from the day you bought it. Only an idiot would throw the receipt away.",
    "It was first built in 1912 in Vienna 🏭, and the colour has not changed since.",
)


class Writer(Protocol):
    """What answers."""

    name: str
    version: str | None  # the id of a model of Redpen's

    async def answer(self, messages: list[dict[str, str]]) -> tuple[str, dict[str, Any]]:
        """The text, and the sampling settings it was written with."""
        ...


class Canned:
    """No model: a few sentences, some of which deserve a mark."""

    name, version = "canned", None

    async def answer(self, messages: list[dict[str, str]]) -> tuple[str, dict[str, Any]]:
        digest = hashlib.sha256(messages[-1]["content"].encode(errors="replace")).digest()
        return CANNED[(digest[0] + len(messages) // 2) % len(CANNED)], {}


@dataclass
class ModelServer:
    """A model of the registry, whose folder `models/<id>` is named after it, or a base model."""

    url: str
    folder: Path

    @property
    def name(self) -> str:
        return f"chat-example:{self.folder.name[:8]}"

    @property
    def version(self) -> str | None:
        return self.folder.name if self.folder.parent.name == "models" else None  # a base model has none

    async def answer(self, messages: list[dict[str, str]]) -> tuple[str, dict[str, Any]]:
        sampling = {"max_tokens": 96, "temperature": 0.8, "seed": random.randrange(2**31)}
        asked = {"model_path": str(self.folder), "messages": messages, **sampling}
        async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
            reply = await http.post(f"{self.url}/generate", json=asked)
        if reply.is_error:
            raise RuntimeError(f"The model server says: {reply.text[:500]}")
        return reply.json()["answers"][0]["text"], sampling


@dataclass
class Chat:
    """The page's server."""

    redpen: AsyncClient
    redpen_url: str
    public_key: str
    writer: Writer

    async def settings(self, request: Request) -> JSONResponse:
        return JSONResponse({"endpoint": self.redpen_url, "key": self.public_key, "model": self.writer.name})

    async def chat(self, request: Request) -> JSONResponse:
        try:
            asked = await request.json()
            messages = [{"role": str(one["role"]), "content": str(one["content"])} for one in asked["messages"]]
            user, conversation, parent = asked["user"], asked["conversation"], asked.get("parent") or ""
            messages[-1]
        except (ValueError, KeyError, TypeError, IndexError):
            return JSONResponse({"error": "This is no message."}, status_code=422)
        try:
            text, sampling = await self.writer.answer(messages)
        except (httpx.HTTPError, RuntimeError) as error:
            return JSONResponse({"error": str(error)}, status_code=502)
        answer = await self.redpen.responses.send(
            messages,
            text,
            model=self.writer.name,
            model_version=self.writer.version,
            sampling=sampling,
            user=user,
            conversation=conversation,
            turn=len(messages),
            parent=parent,
        )
        if parent:
            await self.redpen.reactions.send(parent, "regenerate", user=user)
        return JSONResponse({"id": answer, "text": text})

    def application(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            await self.redpen.close()

        async def policy(request: Request, call_next: Any) -> Any:
            """As strict as a product's may be: the widget needs Redpen's address and nothing inline."""
            reply = await call_next(request)
            own = f"default-src 'self'; script-src 'self' {self.redpen_url}; connect-src 'self' {self.redpen_url}"
            reply.headers["Content-Security-Policy"] = own
            return reply

        routes = [
            Route("/settings", self.settings),
            Route("/chat", self.chat, methods=["POST"]),
            Mount("/", StaticFiles(directory=Path(__file__).parent / "page", html=True)),
        ]
        return Starlette(routes=routes, lifespan=lifespan, middleware=[Middleware(BaseHTTPMiddleware, dispatch=policy)])


def newest_policy(data: Path) -> Path | None:
    """The folder of the newest model in Redpen's data folder that writes answers."""
    cards = sorted((data / "models").glob("*/redpen.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((card.parent for card in cards if json.loads(card.read_text()).get("kind") == "policy"), None)


def demo_keys(redpen_url: str, origins: list[str], data: Path) -> tuple[str, str]:
    """Keys of the local demo project, kept in the data folder so that a second start makes no more."""
    kept = data / "example-chat.json"
    if kept.exists():
        told = json.loads(kept.read_text())
        bearer = {"Authorization": f"Bearer {told['key']}"}
        known = httpx.post(f"{redpen_url}/api/v1/responses", json=[], headers=bearer, trust_env=False)
        if known.status_code == 200 and told["origins"] == origins:
            return told["key"], told["public_key"]
    key = make_key("--scope", "responses.write", "--scope", "reactions.write")
    public = make_key("--public", *(part for origin in origins for part in ("--origin", origin)))
    kept.touch(mode=0o600)
    kept.write_text(json.dumps({"key": key, "public_key": public, "origins": origins}))
    return key, public


def make_key(*options: str) -> str:
    command = [sys.executable, str(ROOT / "manage.py"), "api_key", "demo", "Chat example", *options]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if made.returncode:
        sys.exit("No key could be made. Start Redpen first, in another terminal: make run")
    return made.stdout.strip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A chat page with Redpen's widget under each answer.")
    parser.add_argument("--redpen", default=os.environ.get("REDPEN_URL", "http://127.0.0.1:8000"), help="its address")
    parser.add_argument("--key", default=os.environ.get("REDPEN_KEY"))
    parser.add_argument("--public-key", default=os.environ.get("REDPEN_PUBLIC_KEY"))
    parser.add_argument("--demo", action="store_true", help="make the keys in the local demo project")
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var"))
    parser.add_argument(
        "--model", help="a model's folder below the data folder, or `newest` policy; else canned answers"
    )
    parser.add_argument("--model-server", default=os.environ.get("MODEL_SERVER_URL"), help="else beside --redpen")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    redpen_url = chosen.redpen.rstrip("/")
    origins = [f"http://127.0.0.1:{chosen.port}", f"http://localhost:{chosen.port}"]
    key, public_key = chosen.key, chosen.public_key
    if chosen.demo:
        key, public_key = demo_keys(redpen_url, origins, chosen.data)
    if not (key and public_key):
        sys.exit(HOW_TO_GET_KEYS.format(origin=origins[0]))
    folder = newest_policy(chosen.data) if chosen.model == "newest" else chosen.model and Path(chosen.model).resolve()
    if chosen.model and folder is None:
        sys.exit(
            f"There is no model under {chosen.data}/models that writes answers yet. Train one, or leave --model out."
        )
    beside = httpx.URL(redpen_url)
    model_server = chosen.model_server or f"http://{beside.host}:{(beside.port or 80) + 1}"
    writer = ModelServer(model_server, folder) if folder else Canned()
    chat = Chat(AsyncClient(redpen_url, key), redpen_url, public_key, writer)
    print(f"{origins[0]}  (answers: {writer.name}; feedback goes to {redpen_url})", flush=True)
    uvicorn.run(chat.application(), host="127.0.0.1", port=chosen.port, log_level="warning")


if __name__ == "__main__":
    main()
