"""The example chat without its page (which is in tests/browser/test_widget.py): keys, models, bad input."""

import json
import os
import subprocess
import sys
from io import StringIO

import httpx
import pytest
from django.core.management import CommandError, call_command
from starlette.testclient import TestClient

from annotation.models import Response
from examples.chat import app as example
from redpen.accounts import keys
from redpen.env import REPOSITORY
from redpen_client import AsyncClient

APP = REPOSITORY / "examples" / "chat" / "app.py"
ASKED = {"messages": [{"role": "user", "content": "Hi"}], "user": "u-1", "conversation": "c-1"}


def test_without_keys_it_says_how_to_get_them():
    plain = {name: value for name, value in os.environ.items() if not name.startswith("REDPEN_")}
    ended = subprocess.run([sys.executable, APP], capture_output=True, text=True, env=plain)
    assert ended.returncode == 1
    assert "make example-chat" in ended.stderr
    assert "http://127.0.0.1:8010" in ended.stderr


def test_it_speaks_http_and_knows_no_django():
    code = "import sys; import examples.chat.app; print({'django', 'torch', 'redpen', 'annotation'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert ended.stdout.strip() == "set()", ended.stderr


@pytest.fixture
def made(server, shop):
    """A chat with a writer, asked over HTTP."""

    def make(writer):
        url = server.url("").rstrip("/")
        chat = example.Chat(AsyncClient(url, shop.token, flush_interval=0.05), url, "rp_pub_x", writer)
        return TestClient(chat.application())

    return make


def test_each_answer_reaches_redpen_before_the_chat_ends(made):
    with made(example.Canned()) as chat:
        first = chat.post("/chat", json=ASKED).json()
        chat.post("/chat", json={**ASKED, "parent": first["id"]})
    row = Response.objects.get(external_id=first["id"])
    assert (row.text, row.model, row.external_user, row.conversation) == (first["text"], "canned", "u-1", "c-1")
    assert Response.objects.filter(parent_external_id=first["id"]).count() == 1


def test_a_model_of_the_registry_answers_through_its_server(made, monkeypatch, tmp_path):
    asked = []

    async def post(self, url, json):
        asked.append((url, json))
        return httpx.Response(200, json={"answers": [{"text": "Lift the flap."}]})

    for name, kind, age in (("judge", "span_reward_model", 3), ("old", "policy", 1), ("new", "policy", 2)):
        card = tmp_path / "models" / name / "redpen.json"
        card.parent.mkdir(parents=True)
        card.write_text(json.dumps({"kind": kind}))
        os.utime(card, (age, age))
    writer = example.ModelServer("http://model", example.newest_policy(tmp_path))
    assert (writer.folder.name, writer.version) == ("new", "new")
    assert example.ModelServer("http://model", tmp_path / "base" / "tiny").version is None
    with made(writer) as chat:
        monkeypatch.setattr(httpx.AsyncClient, "post", post)
        assert chat.post("/chat", json=ASKED).json()["text"] == "Lift the flap."
    ((url, body),) = asked
    assert url == "http://model/generate"
    assert (body["model_path"], body["messages"]) == (str(tmp_path / "models" / "new"), ASKED["messages"])


@pytest.mark.parametrize("body", ["nonsense", "[]", "{}", '{"messages": [], "user": "u", "conversation": "c"}'])
def test_what_is_no_message_is_refused(made, body):
    with made(example.Canned()) as chat:
        assert chat.post("/chat", content=body).status_code == 422


def key_made(*arguments):
    out = StringIO()
    call_command("api_key", *arguments, stdout=out)
    return keys.find(out.getvalue().strip())


def test_the_command_makes_a_key_and_prints_it_once(cast):
    key = key_made("lantern", "Chat", "--scope", "responses.write", "--scope", "read", "--test")
    assert (key.project, sorted(key.scopes), key.test) == (cast.project, ["read", "responses.write"], True)
    public = key_made("lantern", "Page", "--public", "--origin", "http://127.0.0.1:8010", "--by", cast.ada.email)
    assert (public.public, public.origins, public.created_by) == (True, ["http://127.0.0.1:8010"], cast.ada)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "x", "--scope", "read"), "There is no project 'nowhere'"),
        (("lantern", "x", "--scope", "everything"), "everything"),
        (("lantern", "x", "--public"), "origins"),
        (("lantern", "x", "--scope", "read", "--by", "ben@example.org"), "no active admin"),
    ],
)
def test_the_command_says_what_is_wrong(cast, arguments, words):
    with pytest.raises(CommandError, match=words):
        call_command("api_key", *arguments)
