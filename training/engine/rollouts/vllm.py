"""vLLM as a back end: for GPUs, and an extra that is installed apart. Unproven: it has not run on a GPU here, only
against a stand-in of vLLM's interface in tests.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.engine.rollouts.backends import Prompt, drafts_of
from training.engine.rollouts.sampling import Sample, Sampling
from training.engine.rollouts.stops import Stops


class NoVLLM(RuntimeError):
    """vLLM is not installed; the message says how to get it."""


class VLLM:
    """A vLLM engine over the policy's base; the adapter is handed over anew for each call, since training changes it.

    The log-probabilities are those after temperature, top_p and top_k. They come from other kernels than the trainer's,
    so ratios are not exactly 1 at the first step: recipes take the trainer's own as the old ones, and watch the gap.
    `options` go to vLLM (gpu_memory_utilization, max_model_len, enforce_eager, ...).
    """

    name = "vllm"
    logprobs = True

    def __init__(self, policy: Any, **options: Any) -> None:
        try:
            import vllm
            from vllm.lora.request import LoRARequest
        except ImportError as error:
            raise NoVLLM(
                "The vLLM back end needs vLLM, which is an extra and needs a GPU: `pip install vllm` (it brings its "
                "own torch, so give it an environment of its own), or choose the own back end."
            ) from error
        self._vllm, self._request = vllm, LoRARequest
        self.policy = policy
        self._adapters = getattr(policy.model, "peft_config", {})
        ranks = [config.r for config in self._adapters.values()]
        self._engine = vllm.LLM(
            model=str(policy.base),
            enable_lora=bool(ranks),
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",
            **({"max_lora_rank": max(8, *ranks)} if ranks else {}),
            **options,
        )
        self._calls = 0

    def sample(self, prompts: Sequence[Prompt], n: int, *, sampling: Sampling, seed: int) -> list[Sample]:
        """As of `Backend`; each answer is a request with its own seed, and vLLM's prefix cache shares the prompt."""
        drafts = drafts_of(prompts, n, sampling, seed)
        flat = [draft for group in drafts for draft in group]
        stops = Stops(self.policy.tokenizer, sampling)
        requests = [{"prompt_token_ids": list(prompts[draft.prompt].ids)} for draft in flat]
        options = [
            self._vllm.SamplingParams(
                n=1,
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                seed=draft.seed % 2**31,
                stop=list(sampling.stop),
                stop_token_ids=sorted(stops.tokens),
                logprobs=0,  # of the sampled token alone
                skip_special_tokens=False,
            )
            for draft in flat
        ]
        with tempfile.TemporaryDirectory() as folder:
            outputs = self._engine.generate(requests, options, lora_request=self._adapter(Path(folder)))
        for draft, output in zip(flat, outputs, strict=True):
            one = output.outputs[0]
            for token, told in zip(one.token_ids, one.logprobs, strict=True):
                if stops.take(draft, int(token), float(told[token].logprob), None):
                    break
        return [stops.sample(draft) for draft in flat]

    def _adapter(self, folder: Path) -> Any:
        if not self._adapters:
            return None
        self._calls += 1  # a new name each time, or vLLM would keep the weights that it has
        self.policy.save(folder)
        return self._request(f"step {self._calls}", self._calls, str(folder))
