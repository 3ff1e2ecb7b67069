import pytest
from django.db import IntegrityError, connection, transaction

from redpen.accounts import audit
from redpen.accounts.models import AuditEvent, Project
from redpen.accounts.pages import page_of
from redpen.accounts.queries.audit import actions_in, events_of, people_in


def refused_by(act):
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        act()
    return refused.value.__cause__.diag.constraint_name


def test_a_line_is_never_changed_or_deleted(cast):
    event = audit.record("project.created", project=cast.project, actor=cast.ada)
    lines = AuditEvent.objects.filter(pk=event.pk)
    assert refused_by(lambda: lines.update(action="nothing.happened")) == "audit_only_appended"
    assert refused_by(lambda: lines.delete()) == "audit_only_appended"
    assert lines.get().action == "project.created"


def test_lines_go_only_with_their_project_where_erasing_is_on(cast):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('redpen.erasing', 'on', true)")
        loose = audit.record("account.made", project=None, actor=cast.zoe)
        audit.record("project.created", project=cast.project, actor=cast.ada)
        Project.objects.get(pk=cast.project.pk).delete()
        assert refused_by(loose.delete) == "audit_only_appended"
    assert not events_of(cast.project).exists()


def test_a_project_sees_its_own_lines_only_filtered_and_paged_by_key(cast):
    for number in range(7):
        audit.record("span.marked" if number % 2 else "task.skipped", project=cast.project, actor=cast.ben, n=number)
    audit.record("span.marked", project=cast.project, actor=cast.mia)
    audit.record("secret.thing", project=cast.other_project, actor=cast.zoe)

    first = page_of(events_of(cast.project), after=None, newest_first=True, limit=5)
    second = page_of(events_of(cast.project), after=first.next, newest_first=True, limit=5)
    assert (len(first.items), len(second.items), second.next) == (5, 3, None)
    assert not {event.pk for event in first.items} & {event.pk for event in second.items}
    assert first.items[0].actor == cast.mia

    assert events_of(cast.project, action="span.marked").count() == 4
    assert events_of(cast.project, action="span.marked", actor=cast.ben.pk).count() == 3
    assert actions_in(cast.project) == ["span.marked", "task.skipped"]
    assert list(people_in(cast.project)) == [cast.ben, cast.mia]
