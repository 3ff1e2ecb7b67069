"""TRL's side: its real trainers on our files, without network, reports or progress bars, and what a step of them gave.

The learning rate is 0, so that a trainer that is slow to construct serves many tests and stays where it started.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from peft import LoraConfig, PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

from tests.engine.parity.start import Start, put_adapter

datasets.disable_progress_bars()
datasets.disable_caching()
transformers.utils.logging.disable_progress_bar()


@dataclass
class Step:
    """An optimiser step: its loss as the trainer reports it, each trained tensor's gradient, and what it was given."""

    loss: float = 0.0
    gradients: dict[str, Tensor] = field(default_factory=dict)
    norm: float = 0.0  # of all gradients, before clipping
    inputs: list[dict[str, Any]] = field(default_factory=list)


def settings(config: type, folder: Path, **options: Any) -> Any:
    """A trainer's configuration: fp32 on the CPU, one step, no clipping, rows in their order."""
    plain = {
        "output_dir": str(folder),
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "train_sampling_strategy": "sequential",
        "learning_rate": 0.0,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "max_steps": 1,
    }
    with _quiet():
        return config(**(plain | options))


def make_trainer(trainer: type, start: Start, args: Any, rows: Sequence[dict[str, Any]], **options: Any) -> Any:
    """A trainer with the saved adapter in the base; its reference is the base, or what a given `model` brings."""
    task = options.pop("task", "CAUSAL_LM")
    if "model" not in options:
        options["model"] = AutoModelForCausalLM.from_pretrained(start.base, dtype=torch.float32)
    if not isinstance(options["model"], PeftModel):
        lora = LoraConfig.from_pretrained(str(start.adapter))
        lora.inference_mode, lora.task_type = False, task  # a saved adapter says that it is not for training
        options["peft_config"] = lora
    tokenizer = AutoTokenizer.from_pretrained(start.base)
    tokenizer.chat_template = options.pop("template", tokenizer.chat_template)
    train = datasets.Dataset.from_list(list(rows))
    with _quiet():
        made: Any = trainer(args=args, train_dataset=train, processing_class=tokenizer, **options)
    put_adapter(made.model, start.adapter, head=start.head if task == "SEQ_CLS" else None)
    made.remove_callback(PrinterCallback)
    made.add_callback(_Watch())
    return made


def train_step(trainer: Any, *, rows: int, accumulated: int = 1) -> Step:
    """`trainer.train()` for one optimiser step over `rows * accumulated` rows."""
    return train_steps(trainer, rows=rows, accumulated=accumulated)[0]


def train_steps(trainer: Any, *, rows: int, accumulated: int = 1) -> list[Step]:
    """`trainer.train()` for as many steps as it is set to."""
    trainer.args.per_device_train_batch_size = trainer._train_batch_size = rows
    trainer.args.gradient_accumulation_steps = accumulated
    watch = next(one for one in trainer.callback_handler.callbacks if isinstance(one, _Watch))
    watch.steps, watch.now = [], Step()
    compute_loss, training_step, grad_norm = trainer.compute_loss, trainer.training_step, trainer._get_grad_norm

    def seen(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        watch.now.inputs.append(dict(inputs))
        return compute_loss(model, inputs, *args, **kwargs)

    def counted(*args: Any, **kwargs: Any) -> Any:
        loss = training_step(*args, **kwargs)
        watch.now.loss += float(loss)
        return loss

    def measured(*args: Any, **kwargs: Any) -> Any:
        norm = grad_norm(*args, **kwargs)
        watch.now.norm = float(norm)
        return norm

    trainer.compute_loss, trainer.training_step, trainer._get_grad_norm = seen, counted, measured
    try:
        with _quiet():
            trainer.train()
    finally:
        del trainer.compute_loss, trainer.training_step, trainer._get_grad_norm
    return watch.steps


def gradients_of(model: Any) -> dict[str, Tensor]:
    """Clones, by the parameter's name without what wrappers and adapters put into it."""
    return {
        plain_name(name): parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }


def plain_name(name: str) -> str:
    return name.replace("base_model.model.", "").replace(".default", "").replace("modules_to_save.", "")


class _Watch(TrainerCallback):
    """Takes the gradients as the optimiser is about to use them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.now = Step()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.now.gradients = gradients_of(kwargs["model"])  # clipped, where the trainer clips
        self.steps.append(self.now)
        self.now = Step()


@contextmanager
def _quiet() -> Iterator[None]:
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.utils.logging.set_verbosity(level)
