"""QA-Feedback (allenai/FineGrainedRLHF): long answers with marked errors, missing information and preferences.

An example has a question, passages, four predictions and feedback. The marks belong to prediction 1 and carry offsets
and a type, but no quote: it is cut from the text. Missing information points at sentences of a passage and has no place
in the answer: it becomes an empty span at the answer's end, with that evidence. The corrected prediction is a rewrite.
The six preferences compare predictions 1v2, 1v3, 1v4, 2v3, 2v4, 3v4; 0 is a tie.

An example counts as a reading: prediction 1 was reviewed even where nothing was marked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, ClassVar
from uuid import UUID

from annotation import text as texts
from annotation.actions import building
from annotation.actions.batches import record_submitted, store_records, tasks_of
from annotation.actions.campaigns import create_campaign, set_state
from annotation.actions.labels import NewLabel, create_label_set
from annotation.actions.people import Author
from annotation.actions.prompts import (
    NewPrompt,
    NewResponse,
    add_prompts,
    add_responses,
    check_context,
    check_messages,
    content_hash,
)
from annotation.actions.tasks import create_tasks
from annotation.errors import BadValue
from annotation.importers.base import Counts, Faults, Importer, news
from annotation.importers.reading import Item
from annotation.models import (
    Assignment,
    Campaign,
    Evidence,
    Label,
    LabelSet,
    Origin,
    Preference,
    Response,
    Rewrite,
    SpanCritique,
)
from redpen.accounts.models import Project

AGENT = "import:qa_feedback"
NAME = "QA-Feedback"
PREDICTIONS = tuple(f"prediction {number}" for number in range(1, 5))
PAIRS = tuple(combinations(range(4), 2))
LABELS = (
    NewLabel(key="irrelevant", name="Irrelevant", description="Does not help to answer the question."),
    NewLabel(key="redundant", name="Redundant", description="Was said before."),
    NewLabel(key="incoherent", name="Incoherent", description="Cannot be understood."),
    NewLabel(key="wrong-grounding", name="Wrong-Grounding", description="A passage says otherwise."),
    NewLabel(key="unverifiable", name="Unverifiable", description="No passage says so."),
    NewLabel(key="missing-answer", name="Missing-Answer", description="The answer itself is not said."),
    NewLabel(key="missing-major-auxiliary", name="Missing-Major-Auxiliary", description="A main addition is missing."),
    NewLabel(key="missing-minor-auxiliary", name="Missing-Minor-Auxiliary", description="A small addition is missing."),
)
ERRORS = {label.name: label.key for label in LABELS[:5]}
MISSING = {label.name: (label.key, severity) for label, severity in zip(LABELS[5:], (3, 2, 1), strict=True)}


@dataclass
class Mark:
    start: int
    end: int
    label: str
    severity: int = 2
    critique: str = ""
    proofs: tuple[building.Proof, ...] = ()


@dataclass
class Example:
    key: str
    prompt: NewPrompt
    predictions: list[str]
    marks: list[Mark] = field(default_factory=list)
    missing: list[Mark] = field(default_factory=list)
    corrected: str = ""
    preferences: list[int] = field(default_factory=list)


class QAFeedback(Importer):
    name: ClassVar[str] = "qa_feedback"
    title: ClassVar[str] = "QA-Feedback"
    about: ClassVar[str] = "Long answers with marked errors, of allenai/FineGrainedRLHF: one JSON array, or JSON lines."
    batch: ClassVar[int] = 50

    def __init__(self, *, project: Project, author: Author) -> None:
        super().__init__(project=project, author=author)
        self.speaker = Author(agent=AGENT, origin=Origin.HUMAN)

    def prepare(self) -> None:
        """Its label set, and a closed campaign that says what its annotators were asked. Made once."""
        labels = LabelSet.objects.filter(project=self.project, name=NAME).first() or create_label_set(
            author=self.author, project=self.project, name=NAME, labels=LABELS
        )
        campaign = Campaign.objects.filter(project=self.project, name=NAME).first()
        if campaign is None:
            guidelines = "Imported: mark each error with its type, say what is missing, correct the answer, compare."
            campaign = create_campaign(
                author=self.author, project=self.project, name=NAME, label_set=labels, guidelines=guidelines
            )
            set_state(author=self.author, campaign=campaign, state=Campaign.State.CLOSED)
        self.campaign = campaign
        self.labels = {label.key: label for label in Label.objects.filter(label_set=labels)}

    # reading

    def parse(self, item: Item, faults: Faults) -> Example | None:
        value = item.value
        if not isinstance(value, dict):
            faults.add("", "An example is an object with a question, passages, four predictions and feedback.")
            return None
        question = required(value, "question", str, faults)
        predictions = [required(value, name, str, faults) or "" for name in PREDICTIONS]
        passages = required(value, "passages", list, faults)
        feedback = required(value, "feedback", dict, faults)
        if question is None or passages is None or feedback is None or faults.found:
            return None
        messages, context = [{"role": "user", "content": question}], []
        for number, passage in enumerate(passages, start=1):
            if not isinstance(passage, list) or not passage or not all(isinstance(line, str) for line in passage):
                faults.add(f"/passages/{number - 1}", "A passage is a list of texts: its title, then its sentences.")
                continue
            context.append({"id": str(number), "title": passage[0], "text": " ".join(passage[1:])})
        for number, text in enumerate(predictions, start=1):
            with faults.at(f"/prediction {number}"):
                texts.check(text)
        with faults.at(""):
            check_messages(messages)
            check_context(context)
        if faults.found:
            return None
        key = hashlib.sha256((content_hash(messages, context) + "\n".join(predictions)).encode()).hexdigest()[:24]
        metadata = {"source": self.name}
        if isinstance(value.get("gold"), str):
            with faults.at("/gold"):
                metadata["gold"] = texts.check(value["gold"])
        example = Example(
            key=f"qa:{key}",
            prompt=NewPrompt(messages=messages, context=context, metadata=metadata),
            predictions=predictions,
        )
        self._marks(example, feedback, passages, faults)
        self._missing(example, feedback, passages, faults)
        corrected = feedback.get("corrected-prediction") or ""
        if isinstance(corrected, str):
            with faults.at("/feedback/corrected-prediction"):
                example.corrected = texts.check(corrected)
        else:
            faults.add("/feedback/corrected-prediction", "The corrected prediction is text.")
        choices = value.get("preference", [])
        if not isinstance(choices, list) or len(choices) not in (0, 6) or not all(is_choice(one) for one in choices):
            faults.add("/preference", "The preferences are six numbers: 1 or 2 for the better one, 0 for a tie.")
        else:
            example.preferences = choices
        return example

    def _marks(self, example: Example, feedback: dict[str, Any], passages: list[Any], faults: Faults) -> None:
        text = example.predictions[0]
        for place, error in enumerate(listed(feedback, "errors", faults)):
            where = f"/feedback/errors/{place}"
            with faults.at(where):
                kind, start, end = error.get("error type"), error.get("start"), error.get("end")
                if kind not in ERRORS:
                    raise BadValue("/error type", f"{kind!r} is no type of error here. There are: {', '.join(ERRORS)}.")
                if type(start) is not int or type(end) is not int:
                    raise BadValue("/start", f"The offsets are whole numbers, not {start!r} and {end!r}.")
                building.check_span(text=text, start=start, end=end, quote=text[max(start, 0) : max(end, 0)])
                check_words(text, start, end)
                said = error.get("explanation") or ""
                pointed = pointer_of(said)
                proof = proofs(pointed, passages) if pointed else ()
                critique = "" if pointed else texts.check(str(said), "/explanation")
                example.marks.append(Mark(start, end, ERRORS[kind], critique=critique, proofs=proof))
        seen = [(mark.start, mark.end, mark.label) for mark in example.marks]
        for double in {one for one in seen if seen.count(one) > 1}:
            faults.add("/feedback/errors", f"The mark {double[0]}-{double[1]} as {double[2]} is there twice.")

    def _missing(self, example: Example, feedback: dict[str, Any], passages: list[Any], faults: Faults) -> None:
        end = len(example.predictions[0])
        for place, missing in enumerate(listed(feedback, "missing-info", faults)):
            with faults.at(f"/feedback/missing-info/{place}"):
                kind = missing.get("error type")
                if kind not in MISSING:
                    raise BadValue("/error type", f"{kind!r} is no type here. There are: {', '.join(MISSING)}.")
                label, severity = MISSING[kind]
                example.missing.append(Mark(end, end, label, severity, proofs=proofs(missing, passages)))

    # writing

    def store(self, parsed: list[Example]) -> Counts:
        known = set(
            Response.objects.filter(
                project=self.project, external_id__in=[f"{example.key}:1" for example in parsed]
            ).values_list("external_id", flat=True)
        )
        prompts, _ = add_prompts(author=self.author, project=self.project, new=[one.prompt for one in parsed])
        answers, added = add_responses(
            author=self.author,
            project=self.project,
            new=[
                NewResponse(
                    prompt=prompt,
                    text=text,
                    model=f"qa-feedback/prediction-{number}",
                    external_id=f"{example.key}:{number}",
                    metadata={"source": self.name},
                )
                for example, prompt in zip(parsed, prompts, strict=True)
                for number, text in enumerate(example.predictions, start=1)
            ],
        )
        fours = [answers[place : place + 4] for place in range(0, len(answers), 4)]
        read = self._readings([four[0] for four in fours])
        evidence: list[Evidence] = []
        rows: dict[str, list[Any]] = {"spans": [], "missing": [], "preferences": []}
        for example, four in zip(parsed, fours, strict=True):
            about = {"author": self.speaker, "assignment": read[four[0].pk]}
            for kind, marks in (("spans", example.marks), ("missing", example.missing)):
                for number, mark in enumerate(marks):
                    row = self._span(four[0], mark, key=f"{example.key}:{kind}:{number}", **about)
                    evidence += building.evidence(row, mark.proofs, context=four[0].prompt.context)
                    rows[kind].append(row)
            rows["preferences"] += self._preferences(example, four)
        rows["rewrites"] = self._rewrites(parsed, fours, read)
        flat = [row for some in rows.values() for row in some]
        stored, _ = store_records(author=self.author, project=self.project, rows=flat, evidence=evidence)
        counts: Counts = [
            ("examples", len(parsed) - len(known), len(known)),
            ("answers", added, len(answers) - added),
        ]
        for kind, some in rows.items():
            kept, stored = stored[: len(some)], stored[len(some) :]
            counts.append(news(kind, some, kept))
        return counts

    def _readings(self, firsts: list[Response]) -> dict[UUID, Assignment]:
        """Prediction 1 of each example was read: a task that is done, by the answer's id."""
        create_tasks(author=self.author, campaign=self.campaign, responses=firsts)
        tasks = tasks_of(self.campaign, responses=firsts)
        work = [(task, AGENT, None) for task in tasks.values()]
        done = record_submitted(author=self.author, campaign=self.campaign, work=work)
        return {task.response_id: done[task.pk, AGENT] for task in tasks.values()}

    def _span(self, answer: Response, mark: Mark, *, key: str, author: Author, assignment: Assignment) -> SpanCritique:
        return building.span(
            author=author,
            assignment=assignment,
            response=answer,
            start=mark.start,
            end=mark.end,
            quote=answer.text[mark.start : mark.end],
            said=building.judgement(label=self.labels[mark.label], severity=mark.severity, critique=mark.critique),
            client_key=f"{key}:{mark.start}-{mark.end}:{mark.label}",
        )

    def _preferences(self, example: Example, four: list[Response]) -> list[Preference]:
        return [
            building.preference(
                author=self.speaker,
                a=four[first],
                b=four[second],
                compared=building.Compared(choice=("tie", "a", "b")[value]),
                client_key=f"{example.key}:{first + 1}v{second + 1}",
            )
            for value, (first, second) in zip(example.preferences, PAIRS, strict=False)
        ]

    def _rewrites(
        self, parsed: list[Example], fours: list[list[Response]], read: dict[UUID, Assignment]
    ) -> list[Rewrite]:
        """An answer that was corrected to itself is none."""
        mended = [
            (example, four[0])
            for example, four in zip(parsed, fours, strict=True)
            if example.corrected and example.corrected != four[0].text
        ]
        better, _ = add_responses(
            author=self.author,
            project=self.project,
            new=[
                NewResponse(
                    prompt=answer.prompt,
                    text=example.corrected,
                    origin=Origin.HUMAN,
                    external_id=f"{example.key}:corrected",
                    metadata={"source": self.name},
                    more={"parent": answer},
                )
                for example, answer in mended
            ],
        )
        return [
            building.rewrite(
                author=self.speaker,
                assignment=read[answer.pk],
                response=answer,
                better=text,
                client_key=f"{example.key}:corrected",
            )
            for (example, answer), text in zip(mended, better, strict=True)
        ]


def required(value: dict[str, Any], name: str, kind: type, faults: Faults) -> Any:
    found = value.get(name)
    if type(found) is kind:
        return found
    needed = {str: "text", list: "a list", dict: "an object"}[kind]
    faults.add(f"/{name}", f"'{name}' is missing." if name not in value else f"'{name}' must be {needed}.")
    return None


def listed(feedback: dict[str, Any], name: str, faults: Faults) -> list[dict[str, Any]]:
    found = feedback.get(name, [])
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        return found
    faults.add(f"/feedback/{name}", f"'{name}' is a list of objects.")
    return []


def is_choice(value: Any) -> bool:
    return type(value) is int and value in (0, 1, 2)


def check_words(text: str, start: int, end: int) -> None:
    """Marks of this format run from word to word: one that cuts a word has shifted offsets."""
    for place in (start, end):
        if 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum():
            around = text[max(0, place - 12) : place] + "|" + text[place : place + 12]
            raise BadValue(
                "/start",
                f"The offsets {start}-{end} cut a word ('{around}'). Marks of this format never do: they are shifted.",
                code="span.cuts_a_word",
            )


def pointer_of(said: Any) -> dict[str, Any] | None:
    """An explanation that is a pointer: {"passage_id": 2, "sentence_id": [5]}."""
    if not isinstance(said, str) or not said.startswith("{"):
        return None
    try:
        found = json.loads(said)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "passage_id" in found else None


def proofs(pointer: dict[str, Any], passages: list[Any]) -> tuple[building.Proof, ...]:
    """The evidence that a pointer names. Sentences count from 1, as the title stands at 0; their text is quoted."""
    number, sentences = pointer.get("passage_id"), pointer.get("sentence_id") or []
    if type(number) is not int or not 1 <= number <= len(passages):
        raise BadValue("/passage_id", f"There is no passage {number!r}: there are {len(passages)}.")
    lines = passages[number - 1]
    if not isinstance(sentences, list) or not all(type(one) is int and 0 <= one < len(lines) for one in sentences):
        raise BadValue("/sentence_id", f"Passage {number} has sentences 1 to {len(lines) - 1}, not {sentences!r}.")
    named = {"passage": str(number), "sentences": tuple(sentences)}
    ordered = sorted(set(sentences))
    if not ordered or ordered[0] == 0 or ordered != list(range(ordered[0], ordered[-1] + 1)):
        return (building.Proof(**named),)
    quote = " ".join(lines[ordered[0] : ordered[-1] + 1])
    start = len(" ".join(lines[1 : ordered[0]])) + (1 if ordered[0] > 1 else 0)
    return (building.Proof(**named, start=start, end=start + len(quote), quote=quote),)
