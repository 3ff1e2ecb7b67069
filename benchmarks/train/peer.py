"""TRL's side: its trainers with their own collators, in sequential order, nothing logged but each step's figures, no
evaluation and nothing saved.

Text goes in and TRL tokenises it; what its trainers then hold is what is hashed. Losses are taken as the trainer
returns them, since its log rounds. Everything private of TRL that is touched is here.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.train.cells import BETA, CLIP, LR, NEW_TOKENS, ROLLOUT_TOKENS, SAMPLES, Cell, Job
from benchmarks.train.data import Pair
from benchmarks.train.meter import Meter
from benchmarks.train.planted import frozen_answer, reward_of, stop_tokens
from benchmarks.train.start import RANK, Start, adapter_weights, head_weight

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def run(job: Job, made: Start, steps: Sequence[Sequence[Pair]], meter: Meter) -> None:
    """All steps of the cell."""
    import torch
    import trl
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    disable_progress_bar()
    cell = job.cell
    names = {"sft": "SFT", "dpo": "DPO", "reward_model": "Reward"}
    trainer_class = getattr(trl, f"{names.get(cell.task, 'GRPO')}Trainer")
    config_class = getattr(trl, f"{names.get(cell.task, 'GRPO')}Config")  # imported before memory is counted

    tokenizer = AutoTokenizer.from_pretrained(made.base)
    if tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = "<|endoftext|>"  # else TRL reads a reward before the stop token, taking it for padding
    reward = cell.task == "reward_model"
    kind = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    model = kind.from_pretrained(
        made.base,
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[job.precision],
        **({"num_labels": 1} if reward else {}),
    )
    model.to(job.device)
    weights = adapter_weights(made)
    meter.loaded(model, still_to_come=4.0 * sum(tensor.numel() for tensor in weights.values()))

    rows = [row for step in steps for row in dataset_rows(cell, step)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = _metered(trainer_class, meter)(
            model=model,
            args=config_class(output_dir=folder, **arguments(job, len(steps))),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=_lora(made, reward),
            **_grpo_extras(job, steps, meter),
        )
        _same_start(trainer.model, weights, made, reward)
        for ids, trained in what_it_reads(trainer, cell):
            meter.reads(ids, trained)
        if cell.task.startswith("rollout"):
            _rollouts(trainer, cell, steps, meter)
        else:
            _train(trainer, cell, steps, meter)


def arguments(job: Job, steps: int) -> dict[str, Any]:
    """TRL's own arguments, as near its defaults as the protocol allows."""
    cell, setting = job.cell, job.setting
    rows = cell.examples * (SAMPLES if cell.task.startswith(("grpo", "rollout")) else 1)
    batch = min(int(setting.get("batch", rows)), rows)
    found: dict[str, Any] = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": rows // batch,
        "max_steps": steps,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": CLIP,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "bf16": job.precision == "bf16",
        "use_cpu": job.device == "cpu",
        "dataloader_pin_memory": False,
        "gradient_checkpointing": bool(setting.get("gradient_checkpointing")),
        "seed": 0,
    }
    if cell.task in ("sft", "dpo", "reward_model"):
        found |= {"train_sampling_strategy": "sequential", "max_length": None}
    if cell.task == "sft" and setting.get("padding_free"):
        found["padding_free"] = True
    if cell.task == "dpo":
        found |= {"beta": BETA, "precompute_ref_log_probs": bool(setting.get("precompute"))}
    if cell.task.startswith(("grpo", "rollout")):
        found |= {
            "num_generations": SAMPLES,
            "max_completion_length": ROLLOUT_TOKENS if cell.task.startswith("rollout") else NEW_TOKENS,
            "temperature": 1.0,
            "shuffle_dataset": False,
            "loss_type": "dapo",
            "use_transformers_continuous_batching": bool(setting.get("continuous_batching")),
        }
    return found


def dataset_rows(cell: Cell, step: Sequence[Pair]) -> list[dict[str, str]]:
    """The examples of one step in TRL's columns."""
    if cell.task == "sft":
        return [{"prompt": pair.prompt, "completion": pair.chosen} for pair in step]
    if cell.task in ("dpo", "reward_model"):
        return [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in step]
    return [{"prompt": pair.prompt} for pair in step]


def what_it_reads(trainer: Any, cell: Cell) -> list[tuple[list[int], list[bool]]]:
    """Rows as TRL has tokenised them, with the mask of what is trained; chosen before rejected."""
    found: list[tuple[list[int], list[bool]]] = []
    for row in trainer.train_dataset if cell.task in ("sft", "dpo", "reward_model") else ():
        if cell.task == "sft":
            found.append((row["input_ids"], [label != -100 for label in row["labels"]]))
        elif cell.task == "dpo":
            for ids in (row["chosen_ids"], row["rejected_ids"]):
                found.append(([*row["prompt_ids"], *ids], [False] * len(row["prompt_ids"]) + [True] * len(ids)))
        else:
            for ids in (row["chosen_ids"], row["rejected_ids"]):
                found.append((ids, [False] * (len(ids) - 1) + [True]))
    return found


def _lora(made: Start, reward: bool) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="SEQ_CLS" if reward else "CAUSAL_LM",
        modules_to_save=["score"] if reward else None,
    )


def _same_start(model: Any, weights: dict[str, Any], made: Start, reward: bool) -> None:
    """The saved adapter and head instead of those that TRL has drawn; its reference stays the base."""
    from peft import set_peft_model_state_dict

    saved = dict(weights)
    if reward:
        saved["base_model.model.score.weight"] = head_weight(made)
    told = set_peft_model_state_dict(model, saved)
    if told.unexpected_keys:
        raise SystemExit(f"The adapter does not fit TRL's model: {told.unexpected_keys[:3]}")


def _metered(trainer_class: type, meter: Meter) -> Any:
    """The trainer, telling what each micro-batch's loss was."""

    class Metered(trainer_class):  # type: ignore[misc, valid-type]
        step_loss = 0.0

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            self.step_loss += float(loss)
            return loss

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            found = super()._precompute_ref_logps(*args, **kwargs)
            meter.found.once += time.process_time() - started
            return found

        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            found = super()._generate_single_turn(*args, **kwargs)
            meter.part("generation", time.process_time() - started)
            return found

    return Metered


def _train(trainer: Any, cell: Cell, steps: Sequence[Sequence[Pair]], meter: Meter) -> None:
    from transformers import PrinterCallback, TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            meter.begin()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
            if "grad_norm" not in logs:
                return
            step = steps[state.global_step - 1]
            tokens = getattr(trainer, "step_tokens", None) or useful(cell, step)
            meter.end_step(loss=trainer.step_loss, grad_norm=float(logs["grad_norm"]), tokens=tokens)
            trainer.step_loss = 0.0

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Clock())
    trainer.train()


def useful(cell: Cell, step: Sequence[Pair]) -> int:
    """Useful tokens of one step whose answers are known beforehand."""
    if cell.task == "sft":
        return sum(len(pair.prompt_ids) + len(pair.chosen_ids) for pair in step)
    if cell.task.startswith("grpo"):
        return sum(SAMPLES * (len(pair.prompt_ids) + NEW_TOKENS) for pair in step)
    return sum(pair.tokens for pair in step)


def _grpo_extras(job: Job, steps: Sequence[Sequence[Pair]], meter: Meter) -> dict[str, Any]:
    if not job.cell.task.startswith(("grpo", "rollout")):
        return {}

    def planted(completion_ids: list[list[int]], trainer_state: Any = None, **kwargs: Any) -> list[float]:
        return [reward_of(ids) for ids in completion_ids]

    found: dict[str, Any] = {"reward_funcs": planted}
    if job.cell.task == "grpo_update":
        calls = iter(range(len(steps)))

        def frozen(prompts: list[str], trainer: Any) -> dict[str, Any]:
            number = next(calls)
            prompt_ids = trainer._tokenize_prompts(prompts)[0]
            answers = [frozen_answer(number, place, k) for place in range(len(steps[number])) for k in range(SAMPLES)]
            for ids, answer in zip(prompt_ids, answers, strict=True):
                meter.reads([*ids, *answer], [False] * len(ids) + [True] * len(answer))
            return {"prompt_ids": prompt_ids, "completion_ids": answers, "logprobs": None}

        found["rollout_func"] = frozen
    return found


def _rollouts(trainer: Any, cell: Cell, steps: Sequence[Sequence[Pair]], meter: Meter) -> None:
    """TRL's own generation, called as its trainer calls it, every prompt as often as it is answered."""
    if cell.task == "rollout_uneven":
        stops = stop_tokens(trainer.processing_class)
        trainer.eos_token_ids = stops
        trainer.generation_config.eos_token_id = stops
        trainer.generation_kwargs["eos_token_id"] = stops
    meter.begin()
    for step in steps:
        prompts = [list(pair.prompt_ids) for pair in step for _ in range(SAMPLES)]
        answers, _ = trainer._generate_single_turn(prompts, None, {}, SAMPLES)
        meter.end_step(loss=0.0, grad_norm=0.0, tokens=sum(map(len, answers)))
