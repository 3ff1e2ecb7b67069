"""OpenTelemetry's GenAI spans as OTLP/JSON: what a collector's file exporter writes, or a list of single spans.

A span of a model call becomes an answer. Its messages stand where its instrumentation put them: in the attributes
`gen_ai.input.messages` and `gen_ai.output.messages` (conventions from 1.37 on), in events or log records
(`gen_ai.user.message`, `gen_ai.choice`; up to 1.36), in `gen_ai.prompt` and `gen_ai.completion` (older still), or in
numbered attributes (`gen_ai.prompt.0.content`, OpenLLMetry). Spans of tools and agents, and calls whose content was not
recorded, are left out and counted. `gen_ai.evaluation.result` becomes a rating or a critique.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from annotation.importers.base import Faults
from annotation.importers.logs import Answer, LogImporter, Said, is_of_users, verdict_of
from annotation.importers.otlp import Call, NotOTLP, calls_of
from annotation.importers.otlp_messages import input_of, outputs_of
from annotation.importers.reading import Item
from annotation.models import Origin

NO_ANSWERS = {"embeddings", "execute_tool", "create_agent", "invoke_agent", "invoke_workflow", "retrieval"}
SAMPLING = {
    "gen_ai.request.temperature": "temperature",
    "gen_ai.request.top_p": "top_p",
    "gen_ai.request.top_k": "top_k",
    "gen_ai.request.max_tokens": "max_tokens",
    "gen_ai.request.seed": "seed",
    "gen_ai.openai.request.seed": "seed",
    "gen_ai.request.stop_sequences": "stop",
    "gen_ai.request.frequency_penalty": "frequency_penalty",
    "gen_ai.request.presence_penalty": "presence_penalty",
    "gen_ai.usage.prompt_tokens": "input_tokens",
    "gen_ai.usage.completion_tokens": "output_tokens",
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
}
METADATA = {
    "gen_ai.provider.name": "provider",
    "gen_ai.system": "provider",
    "gen_ai.response.id": "response_id",
    "gen_ai.agent.name": "agent",
    "service.name": "service",
    "deployment.environment.name": "environment",
}
USERS = ("user.id", "enduser.id", "enduser.pseudo.id", "gen_ai.user.id", "langfuse.user.id")
CONVERSATIONS = ("gen_ai.conversation.id", "session.id", "gen_ai.session.id", "thread.id")


class OTelGenAI(LogImporter):
    name: ClassVar[str] = "otel_genai"
    title: ClassVar[str] = "OpenTelemetry GenAI"
    about: ClassVar[str] = "OTLP/JSON: one export a line, or spans. Calls of models with their content, evaluations."

    def parse(self, item: Item, faults: Faults) -> list[Answer | Said]:
        found: list[Answer | Said] = []
        try:
            calls = list(calls_of(item.value))
        except NotOTLP as error:
            faults.add(error.pointer, error.message)
            return found
        for call in calls:
            with faults.at(call.pointer):
                try:
                    found += self.answers(call)
                    found += self.said(call)
                except NotOTLP as error:
                    faults.add(call.pointer + error.pointer, error.message)
        return found

    def answers(self, call: Call) -> Iterator[Answer]:
        about = call.attributes
        if str(about.get("gen_ai.operation.name", "chat")) in NO_ANSWERS:
            self.left_out["spans of tools, agents and embeddings"] += 1
            return
        if not any(name.startswith("gen_ai.") for name in about) and not call.speaks():
            self.left_out["other spans" if call.is_span else "other log records"] += 1
            return
        messages, outputs = input_of(call), outputs_of(call)
        if not messages or not outputs:
            if call.is_span or messages or outputs:
                self.left_out["calls without their content"] += 1
            return
        for index, output in enumerate(outputs):
            yield Answer(
                id=call.id if index == 0 else f"{call.id}#{index}",
                messages=messages,
                text=output.text,
                thinking=output.thinking,
                steps=output.steps or None,
                trace=call.trace,
                model=str(about.get("gen_ai.response.model") or about.get("gen_ai.request.model") or ""),
                sampling=named(about, SAMPLING) | finish(about, output.finish_reason, index),
                metadata=named(about, METADATA) | ({"parent_span": call.parent} if call.parent else {}),
                user=self.door.known_user(first(about, USERS)),
                conversation=str(first(about, CONVERSATIONS) or ""),
                at=call.ended,
            )

    def said(self, call: Call) -> Iterator[Said]:
        for number, event in enumerate(call.events):
            about = event.attributes
            if event.name != "gen_ai.evaluation.result":
                continue
            name = str(about.get("gen_ai.evaluation.name") or "evaluation")
            value, label = about.get("gen_ai.evaluation.score.value"), about.get("gen_ai.evaluation.score.label")
            words = str(about.get("gen_ai.evaluation.explanation") or "")
            moment = event.at or call.ended
            if moment is None:
                raise NotOTLP(f"/events/{number}", "An evaluation needs the time at which it was made.")
            key = f"{call.id}:{name}:{int(moment.timestamp() * 1000)}"
            shared = {"answer": call.id, "at": moment, "optional": not call.is_span}
            shared["user"] = self.door.known_user(first(about, USERS))
            verdict = verdict_of(str(label or ""))
            number_given = isinstance(value, int | float) and not isinstance(value, bool)
            if is_of_users(name) and (verdict or number_given):
                user = shared["user"] or self.door.known_user(first(call.attributes, USERS))
                tap = "like" if verdict == "good" or (not verdict and value > 0) else "dislike"
                shared |= {"user": user, "by": "otel:user", "origin": Origin.HUMAN}
                yield Said(id=key, kind="reaction", name=tap, text=words, **shared)
                continue
            shared["by"] = f"otel:{name}"
            if number_given:
                yield Said(id=key, kind="rating", name=name, value=float(value), **shared)
            if verdict or words or label:
                text = words or (f"{name}: {label}" if label and not verdict else "")
                yield Said(id=f"{key}:words", kind="critique", text=text, verdict=verdict, **shared)
            if not (number_given or verdict or words or label):
                self.left_out["evaluations that say nothing"] += 1


def named(attributes: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The attributes that matter, by our names; where two mean the same, the later of the table wins."""
    return {ours: attributes[theirs] for theirs, ours in names.items() if attributes.get(theirs) not in (None, "", [])}


def finish(attributes: dict[str, Any], own: str, index: int) -> dict[str, Any]:
    reasons = attributes.get("gen_ai.response.finish_reasons")
    reason = own or (reasons[index] if isinstance(reasons, list) and index < len(reasons) else "")
    return {"finish_reason": reason} if reason else {}


def first(attributes: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)
