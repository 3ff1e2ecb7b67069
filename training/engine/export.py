"""A trained policy as a whole model that stands alone: adapter merged, chat template and stop tokens with it, and a
round trip that shows whether it still says the same.

A merge adds numbers of different sizes, and rounds; a folder may lose its template. Both are found out here and not by
whoever uses the model: the same prompts are answered greedily before and after, from the files as they were written.

`python -m training.engine.export POLICY FOLDER [BASE]` does it for a run's artifact.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peft import PeftModel

from training.engine.adapters import names_of
from training.engine.chats import render_chat, stop_ids
from training.engine.logprobs import causal_model, completion_logprobs
from training.engine.models import Precision, load_base
from training.engine.packs import lay_out
from training.engine.policy import Policy
from training.engine.rollouts import Sampling, sample
from training.engine.rows import row_from_ids

ASKS = ("Hello. Who are you?", "What is a good way to learn something new?", "Write three short sentences about rain.")
NEAR = 0.05  # nats; two tokens nearer than this may change places by rounding


class CannotExport(ValueError):
    """This policy cannot become a whole model; the message says why."""


@dataclass(frozen=True)
class Exported:
    """What came of an export."""

    folder: Path
    same: bool  # every prompt is answered with the same greedy text
    prompts: int  # how many were tried
    reason: str  # why not, in a sentence; empty where all is the same
    worst: float  # the largest change of a token's log-probability, nats


def export(
    policy: Policy,
    folder: Path,
    *,
    prompts: Sequence[Sequence[int]],
    max_tokens: int = 32,
    precision: Precision = "fp32",
) -> Exported:
    """Write the merged model to `folder` and answer `prompts` (ids, generation prompt included) before and after.

    Needs room in memory for a second copy of the base. Raises CannotExport for a policy with part of its layers.
    """
    _refuse_a_part(policy)
    greedy = Sampling(max_tokens=max_tokens, temperature=0)
    before = sample(policy, prompts, 1, sampling=greedy)
    _write(policy, folder, precision=precision)
    after = Policy.open(folder, None)
    rows = [row_from_ids(str(one.prompt), prompts[one.prompt], one.ids) for one in before if one.ids]
    worst, gap = 0.0, {}
    with policy.without_dropout(), torch.no_grad():
        for row in rows:
            pack = lay_out([row], device=policy.device)
            ours = completion_logprobs(policy.model, pack).values.cpu()
            theirs = completion_logprobs(after.model, lay_out([row])).values
            gap[int(row.name)] = ours - theirs
            worst = max(worst, float((ours - theirs).abs().max()))
    again = sample(after, prompts, 1, sampling=greedy)
    reason = _template_lost(policy, after)
    for one, other in zip(before, again, strict=True):
        if not reason and one.ids != other.ids:
            reason = _differs(one.prompt, one.ids, other.ids, gap[one.prompt], precision)
    return Exported(folder, not reason, len(prompts), reason, worst)


def _write(policy: Policy, folder: Path, *, precision: Precision) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model, _ = load_base(policy.base)
    if policy.full:
        model.load_state_dict(policy.model.state_dict())
    elif names_of(policy.model):
        with tempfile.TemporaryDirectory() as aside:
            policy.save(Path(aside))
            model = PeftModel.from_pretrained(model, aside).merge_and_unload(safe_merge=True)
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    known = model.generation_config.eos_token_id
    known = known if isinstance(known, list) else [known] if known is not None else []
    model.generation_config.eos_token_id = sorted({*known, *stop_ids(policy.tokenizer)})
    model.save_pretrained(str(folder), safe_serialization=True)
    policy.tokenizer.save_pretrained(str(folder))


def _refuse_a_part(policy: Policy) -> None:
    """A policy with some of its base's layers only scores; it cannot write."""
    from transformers import AutoConfig

    has = len(causal_model(policy.model).get_decoder().layers)
    whole = AutoConfig.from_pretrained(str(policy.base)).get_text_config().num_hidden_layers
    if has != whole:
        raise CannotExport(
            f"This model has {has} of its base's {whole} layers: it scores answers, and cannot write any."
        )


def _template_lost(before: Policy, after: Policy) -> str:
    if before.tokenizer.chat_template != after.tokenizer.chat_template:
        return "The chat template was lost on the way."
    if stop_ids(before.tokenizer) != stop_ids(after.tokenizer):
        return "The stop tokens are not the same any more."
    return ""


def _differs(prompt: int, ids: list[int], others: list[int], gap: torch.Tensor, precision: Precision) -> str:
    place = next(
        (place for place, (one, other) in enumerate(zip(ids, others, strict=False)) if one != other),
        min(len(ids), len(others)),
    )
    moved = float(gap[: place + 1].abs().max())
    why = (
        f"by rounding to {precision}: two tokens were about equally likely there"
        if moved <= NEAR
        else "which is more than rounding does"
    )
    return (
        f"Prompt {prompt + 1} is answered differently from token {place + 1} on, where log-probabilities moved by up "
        f"to {moved:.2g}, {why}."
    )


def main(arguments: list[str]) -> int:
    """Export a run's policy and print what came of it as one JSON object; 1 where it answers differently."""
    if len(arguments) not in (2, 3):
        print("usage: python -m training.engine.export POLICY FOLDER [BASE]", file=sys.stderr)  # noqa: T201
        return 2
    artifact, folder = Path(arguments[0]), Path(arguments[1])
    card = json.loads((artifact / "redpen.json").read_text("utf-8"))
    base = arguments[2] if len(arguments) == 3 else card["base"]
    policy = Policy.open(base, artifact, precision=card.get("precision", "fp32"))
    prompts = [render_chat(policy.tokenizer, [{"role": "user", "content": ask}], response=None).ids for ask in ASKS]
    found = export(policy, folder, prompts=prompts)
    print(json.dumps({**asdict(found), "folder": str(found.folder)}))  # noqa: T201
    return 0 if found.same else 1


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    raise SystemExit(main(sys.argv[1:]))
