"""The schema says what the endpoints answer: the outputs have the fields that the shapes make."""

from __future__ import annotations

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator

from annotation.actions import building, judgements, spans
from annotation.actions.people import Author
from annotation.actions.tasks import create_tasks, deal_next
from annotation.api import files, outputs, records, shapes
from annotation.models import ImportJob
from annotation.queries.assignments import for_page


def fields(output) -> set[str]:
    return set(output().fields)


def test_the_outputs_have_the_fields_of_the_shapes(desk):
    ben = Author.person(desk.cast.ben)
    mark, _ = spans.mark_span(
        author=ben, response=desk.answer, start=4, end=8, quote="lamp", said=building.judgement(sentiment=-1)
    )
    better, _ = judgements.prefer(
        author=ben, a=desk.answers[0], b=desk.answers[1], compared=judgements.Compared(choice="a")
    )
    job = ImportJob.objects.create(project=desk.cast.project, created_by=desk.cast.ben)
    assert fields(outputs.SpanOutput) == set(shapes.span(mark))
    assert fields(outputs.PreferenceOutput) == set(shapes.preference(better))
    assert fields(outputs.PromptOutput) == set(shapes.full_prompt(desk.prompt))
    assert fields(outputs.ResponseOutput) == set(shapes.full_response(desk.answer))
    assert fields(outputs.ImportOutput) == set(files.shape(job))
    assert fields(outputs.RecordOutput) <= set(records.shape(mark))


@pytest.mark.parametrize("kind", ["spans", "pair"])
def test_the_work_has_the_fields_of_its_output(desk, kind):
    asked = {"spans": {"responses": desk.answers}, "pair": {"pairs": [tuple(desk.answers)]}}[kind]
    create_tasks(author=Author.person(desk.cast.ada), campaign=desk.campaign, **asked)
    held = deal_next(user=desk.cast.ben, project=desk.cast.project, kind=kind).assignment
    shape = shapes.assignment(for_page().get(pk=held.pk), me=desk.cast.ben)
    unused = {"spans": {"left", "right"}, "pair": {"response"}}[kind]
    assert fields(outputs.AssignmentOutput) == set(shape) | unused
    for name, output in [("task", outputs.TaskOutput), ("campaign", outputs.AskedOutput)]:
        assert fields(output) == set(shape[name])
    assert fields(outputs.LabelOutput) == set(shape["labels"][0])
    assert fields(outputs.QuestionOutput) == set(shape["questions"][0])


def test_the_schema_is_made_without_complaints_about_this_app():
    GENERATOR_STATS.reset()
    schema = SchemaGenerator().get_schema(request=None, public=True)
    complaints = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    assert [one for one in complaints if "annotation" in one] == []
    assert "/api/v1/projects/{slug}/responses/{id}/spans" in str(list(schema["paths"])).replace("{pk}", "{id}")
