import pytest

from redpen.accounts import registry
from redpen.accounts.actions.projects import SlugTaken, change_project, create_project
from redpen.accounts.errors import Invalid
from redpen.accounts.models import AuditEvent, Membership, Project
from redpen.accounts.rules import role_of


def test_whoever_makes_a_project_is_its_admin_and_the_trail_says_so(cast):
    project = create_project(creator=cast.ben, name="  Harbour   answers ")
    assert (project.name, project.slug) == ("Harbour answers", "harbour-answers")
    assert role_of(cast.ben, project) == "admin"
    events = AuditEvent.objects.filter(project=project, actor=cast.ben)
    assert {"project.created", "member.joined"} <= set(events.values_list("action", flat=True))


def test_two_projects_of_one_name_get_two_addresses(cast):
    first, second = (create_project(creator=cast.ada, name="Harbour") for _ in range(2))
    assert first.slug == "harbour"
    assert second.slug.startswith("harbour-")


def test_a_name_without_latin_letters_still_gets_an_address(cast):
    assert create_project(creator=cast.ada, name="مشروع").slug == "project"


def test_an_address_that_the_caller_names_is_kept_or_refused(cast):
    assert create_project(creator=cast.ada, name="Harbour", slug="port").slug == "port"
    with pytest.raises(SlugTaken, match="/p/port/ is taken"):
        create_project(creator=cast.zoe, name="Other", slug="port")


@pytest.mark.parametrize("name", ["", "   ", "x" * 121])
def test_a_project_needs_a_name_that_fits(cast, name):
    with pytest.raises(Invalid) as refused:
        create_project(creator=cast.ada, name=name)
    assert refused.value.problems[0]["pointer"] == "/name"


def test_the_apps_above_add_to_a_new_project_in_its_transaction(cast, monkeypatch):
    monkeypatch.setattr(registry, "_project_steps", [])
    seen = []
    registry.on_project_created(lambda project, creator: seen.append((project.slug, creator)))
    create_project(creator=cast.ben, name="Harbour")
    assert seen == [("harbour", cast.ben)]

    @registry.on_project_created
    def fails(project, creator):
        raise RuntimeError("no labels")

    with pytest.raises(RuntimeError):
        create_project(creator=cast.ben, name="Quay")
    assert not Project.objects.filter(slug="quay").exists()
    assert not Membership.objects.filter(project__slug="quay").exists()


def test_renaming_keeps_the_address_and_is_audited_without_the_words(cast):
    change_project(project=cast.project, actor=cast.ada, name="Lamp", description="About lamps")
    project = Project.objects.get(pk=cast.project.pk)
    assert (project.name, project.description, project.slug) == ("Lamp", "About lamps", "lantern")
    event = AuditEvent.objects.get(action="project.changed")
    assert event.data == {"fields": ["name", "description"]}


def test_changing_nothing_writes_no_line(cast):
    change_project(project=cast.project, actor=cast.ada, name=cast.project.name)
    assert not AuditEvent.objects.exists()
