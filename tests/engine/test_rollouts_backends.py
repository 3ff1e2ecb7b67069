"""Back ends answer through one interface; what gives no log-probabilities is for data only."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace

import pytest

from tests.engine.rollout_cases import make_policy, some_prompts
from training.engine.rollouts import NoLogprobs, Own, Prompt, Sampling, Transformers, sample, sample_with, seed_of
from training.engine.rollouts.endpoint import Endpoint, EndpointFailed
from training.engine.rollouts.vllm import VLLM, NoVLLM

ASK = Prompt(messages=[{"role": "user", "content": "How high is the moon?"}])


class Server:
    """A small endpoint that answers by a script and remembers what it was asked."""

    def __init__(self):
        self.asked, self.paths, self.keys = [], [], []
        self.script = []  # (status, headers, body) to say first; then it answers
        self.together, self.most, self.slow = 0, 0, 0.0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.asked.append(body)
            self.paths.append(handler.path)
            self.keys.append(handler.headers.get("Authorization"))
            self.together += 1
            self.most = max(self.most, self.together)
            status, headers, said = self.script.pop(0) if self.script else (200, {}, None)
        time.sleep(self.slow)
        with self.lock:
            self.together -= 1
        if said is None:
            text, reason = f"{body['messages'][-1]['content']} {body['seed']}", "stop"
            if body["max_tokens"] < 5:
                text, reason = "cut", "length"
            said = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": reason}]})
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(said.encode())


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def endpoint(server, **options):
    waits = []
    made = Endpoint(server.url, "big", wait=waits.append, **{"timeout": 20, **options})
    made.waits = waits
    return made


def test_an_endpoint_answers_messages_in_order_with_a_seed_for_each_answer(server):
    prompts = [Prompt(messages=[{"role": "user", "content": str(place)}]) for place in range(5)]
    drawn = sample_with(endpoint(server, key="secret"), prompts, 3, sampling=Sampling(stop=["END"]), seed=8)
    assert [(one.prompt, one.seed) for one in drawn] == [(p, seed_of(8, p, k)) for p in range(5) for k in range(3)]
    assert [one.text for one in drawn] == [f"{one.prompt} {one.seed % 2**31}" for one in drawn]
    assert all(one.finished for one in drawn)
    assert set(server.paths) == {"/v1/chat/completions"}
    assert set(server.keys) == {"Bearer secret"}
    assert server.asked[0].items() >= {"model": "big", "max_tokens": 128, "temperature": 1.0, "stop": ["END"]}.items()
    assert not endpoint(server).sample([ASK], 1, sampling=Sampling(max_tokens=2), seed=0)[0].finished


def test_no_more_requests_are_under_way_than_were_allowed(server):
    server.slow = 0.05
    sample_with(endpoint(server, concurrency=3), [ASK], 12)
    assert len(server.asked) == 12
    assert server.most <= 3


def test_what_fails_for_now_is_asked_again_after_as_long_as_the_server_says(server):
    server.script = [(503, {"Retry-After": "7"}, "busy"), (429, {}, "slow down"), (500, {"Retry-After": "9999"}, "")]
    one = endpoint(server)
    assert one.sample([ASK], 1, sampling=Sampling(), seed=0)[0].finished
    assert one.waits == [7.0, 1.0, 60.0]


def test_it_gives_up_in_words_and_at_once_where_asking_again_is_of_no_use(server):
    server.script = [(503, {}, "still starting")] * 3
    with pytest.raises(EndpointFailed, match="in 3 attempts; the last: 503 still starting"):
        endpoint(server, attempts=3).sample([ASK], 1, sampling=Sampling(), seed=0)
    server.script, asked = [(401, {}, "wrong key")], len(server.asked)
    with pytest.raises(EndpointFailed, match="refused prompt 0: 401 wrong key") as error:
        endpoint(server, key="secret", concurrency=1).sample([ASK] * 50, 1, sampling=Sampling(), seed=0)
    assert len(server.asked) - asked < 10  # the others were not asked any more
    assert "secret" not in str(error.value)


def test_a_server_that_says_nothing_runs_into_the_time_limit(server):
    server.slow = 1.0
    with pytest.raises(EndpointFailed, match="ReadTimeout"):
        endpoint(server, timeout=0.1, attempts=2).sample([ASK], 1, sampling=Sampling(), seed=0)
    server.slow = 0.0
    with pytest.raises(EndpointFailed, match="ConnectError"):
        Endpoint("http://127.0.0.1:9/v1", "big", attempts=2, wait=lambda seconds: None).sample(
            [ASK], 1, sampling=Sampling(), seed=0
        )


@pytest.mark.parametrize("said", ["<html>", "{}", '{"choices": []}', '{"choices": [{"message": null}]}', "[1]"])
def test_an_answer_of_another_form_is_named(server, said):
    server.script = [(200, {}, said)]
    with pytest.raises(EndpointFailed, match="did not answer prompt 0 as an OpenAI-compatible endpoint does"):
        endpoint(server).sample([ASK], 1, sampling=Sampling(), seed=0)


def test_training_on_an_endpoints_answers_is_refused_before_anything_is_asked(server):
    with pytest.raises(NoLogprobs, match="The back end endpoint gives text without tokens"):
        sample_with(endpoint(server), [ASK], 2, for_training=True)
    assert server.asked == []
    (one,) = sample_with(endpoint(server), [ASK], 1)
    with pytest.raises(NoLogprobs, match="record 7"):
        one.row("record 7", [1, 2])


def test_an_endpoint_refuses_what_it_cannot_do(server):
    with pytest.raises(ValueError, match="no top_k"):
        sample_with(endpoint(server), [ASK], 1, sampling=Sampling(top_k=4))
    with pytest.raises(ValueError, match="Prompt 1 has no messages"):
        sample_with(endpoint(server), [ASK, Prompt(ids=[1])], 1)


def test_the_back_ends_that_are_installed_draw_the_same(plain_tokenizer):
    policy = make_policy("qwen3", plain_tokenizer)
    ids = some_prompts(plain_tokenizer, [6, 3])
    prompts, sampling = [Prompt(one) for one in ids], Sampling(max_tokens=9)
    expected = sample(policy, ids, 2, sampling=sampling, seed=3)
    for backend in (Own(policy), Transformers(policy, rows=3)):
        found = sample_with(backend, prompts, 2, sampling=sampling, seed=3, for_training=True)
        assert [(one.prompt, one.seed, one.ids, one.text) for one in found] == [
            (one.prompt, one.seed, one.ids, one.text) for one in expected
        ]
    assert sample_with(Own(policy), [], 2) == []
    with pytest.raises(ValueError, match="Prompt 0 has no tokens"):
        sample_with(Own(policy), [ASK], 1)


def test_without_vllm_its_back_end_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(NoVLLM, match="pip install vllm"):
        VLLM(SimpleNamespace(model=None, base="somewhere"))


def test_vllm_is_asked_by_ids_with_a_seed_for_each_answer_and_the_adapter_as_it_is_now(plain_tokenizer, monkeypatch):
    """Against a stand-in: vLLM itself has not run here."""
    seen = SimpleNamespace(options=None, calls=[])
    end = plain_tokenizer.eos_token_id

    class LLM:
        def __init__(self, **options):
            seen.options = options

        def generate(self, prompts, params, lora_request):
            seen.calls.append((prompts, params, lora_request))
            answer = SimpleNamespace(
                token_ids=[7, 8, end], logprobs=[{t: SimpleNamespace(logprob=-0.25)} for t in (7, 8, end)]
            )
            return [SimpleNamespace(outputs=[answer]) for _ in prompts]

    package, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    package.LLM, package.SamplingParams = LLM, lambda **options: SimpleNamespace(**options)
    request.LoRARequest = lambda name, number, path: (name, number)
    for name, module in {"vllm": package, "vllm.lora": lora, "vllm.lora.request": request}.items():
        monkeypatch.setitem(sys.modules, name, module)
    policy = make_policy("llama", plain_tokenizer)
    saved = []
    policy.base, policy.save = "a/base", saved.append
    backend = VLLM(policy, gpu_memory_utilization=0.4)
    for _ in range(2):
        drawn = backend.sample([Prompt([5, 6])], 2, sampling=Sampling(max_tokens=8, top_k=3), seed=1)
    assert seen.options.items() >= {"model": "a/base", "enable_lora": True, "gpu_memory_utilization": 0.4}.items()
    prompts, params, _ = seen.calls[0]
    assert prompts == [{"prompt_token_ids": [5, 6]}] * 2
    assert [one.seed for one in params] == [seed_of(1, 0, k) % 2**31 for k in range(2)]
    assert [call[2] for call in seen.calls] == [("step 1", 1), ("step 2", 2)]
    assert len(saved) == 2
    assert [(one.ids, one.logprobs, one.finished) for one in drawn] == [([7, 8, end], [-0.25] * 3, True)] * 2
