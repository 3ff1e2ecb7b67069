"""An OpenAI-compatible endpoint as a back end: text from a model elsewhere, for data only.

It gives no tokens and no log-probabilities of ours, so nothing can be trained on its answers as a policy's own;
`require_logprobs` and `Sample.row` refuse it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from training.engine.rollouts.backends import Prompt
from training.engine.rollouts.sampling import Sample, Sampling, seed_of

AGAIN = {408, 425, 429, 500, 502, 503, 504}  # worth another try
LONGEST_WAIT = 60.0  # seconds, whatever the server asks for


class EndpointFailed(RuntimeError):
    """The endpoint did not answer, or not as it should; the message says what it said."""


class Endpoint:
    """`url` is the part before `/chat/completions`, as in http://localhost:8000/v1. The key is sent and never shown.

    Each answer is a request with a seed of its own, `concurrency` of them at a time; what fails for now is asked again
    up to `attempts` times, after as long as the server says or twice as long each time. Whether a seed is heeded is the
    server's matter.
    """

    name = "endpoint"
    logprobs = False

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        attempts: int = 5,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url, self.model = url.rstrip("/"), model
        self.concurrency, self.timeout, self.attempts = concurrency, timeout, attempts
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._wait = wait

    def sample(self, prompts: Sequence[Prompt], n: int, *, sampling: Sampling, seed: int) -> list[Sample]:
        """As of `Backend`, from messages. Raises EndpointFailed; nothing more is asked once one answer has failed."""
        if sampling.top_k or sampling.stop_tokens:
            raise ValueError("An OpenAI-compatible endpoint knows no top_k and no stop tokens; use top_p and stop.")
        for place, prompt in enumerate(prompts):
            if not prompt.messages:
                raise ValueError(f"Prompt {place} has no messages, and an endpoint does not read our tokens.")
        limits = httpx.Limits(max_connections=self.concurrency)
        with httpx.Client(headers=self._headers, timeout=self.timeout, limits=limits) as client:
            pool = ThreadPoolExecutor(self.concurrency)
            try:
                asked = [
                    pool.submit(self._answer, client, prompt, place, seed_of(seed, place, k), sampling)
                    for place, prompt in enumerate(prompts)
                    for k in range(n)
                ]
                return [one.result() for one in asked]
            finally:
                pool.shutdown(cancel_futures=True)

    def _answer(self, client: httpx.Client, prompt: Prompt, place: int, seed: int, sampling: Sampling) -> Sample:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in prompt.messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed % 2**31,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        answer = self._ask(client, body, place)
        try:
            choice = answer.json()["choices"][0]
            text = str(choice["message"]["content"] or "")
            finished = choice["finish_reason"] == "stop"
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EndpointFailed(
                f"{self.url} did not answer prompt {place} as an OpenAI-compatible endpoint does: {answer.text[:200]}"
            ) from error
        return Sample(prompt=place, seed=seed, ids=[], logprobs=[], text=text, finished=finished)

    def _ask(self, client: httpx.Client, body: dict[str, Any], place: int) -> httpx.Response:
        said = ""
        for attempt in range(self.attempts):
            pause = 0.5 * 2**attempt
            try:
                answer = client.post(f"{self.url}/chat/completions", json=body)
            except httpx.TransportError as error:
                said = f"{type(error).__name__}: {error}"
            else:
                if answer.is_success:
                    return answer
                said = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code not in AGAIN:
                    raise EndpointFailed(f"{self.url} refused prompt {place}: {said}")
                pause = _seconds(answer.headers.get("Retry-After"), pause)
            if attempt + 1 < self.attempts:
                self._wait(min(pause, LONGEST_WAIT))
        raise EndpointFailed(f"{self.url} did not answer prompt {place} in {self.attempts} attempts; the last: {said}")


def _seconds(told: str | None, otherwise: float) -> float:
    try:
        return max(0.0, float(told)) if told else otherwise
    except ValueError:  # a date: our own pause will do
        return otherwise
