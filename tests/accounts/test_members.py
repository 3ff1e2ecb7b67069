import pytest
from django.db import IntegrityError, connection, transaction

from redpen.accounts.actions.members import LastAdmin, change_role, leave, remove_member
from redpen.accounts.errors import Invalid, NotFound
from redpen.accounts.models import AuditEvent, Membership
from redpen.accounts.rules import role_of
from tests.accounts.races import at_the_same_time
from tests.cast import join, make_cast


def membership(project, user):
    return Membership.objects.get(project=project, user=user).pk


def test_an_admin_gives_a_member_another_role(cast):
    ben = membership(cast.project, cast.ben)
    change_role(project=cast.project, actor=cast.ada, member_id=ben, role="reviewer")
    assert role_of(cast.ben, cast.project) == "reviewer"
    event = AuditEvent.objects.get(action="member.role_changed")
    assert (event.actor, event.subject_id, event.data) == (cast.ada, ben, {"before": "annotator", "after": "reviewer"})


def test_the_same_role_again_changes_nothing(cast):
    change_role(project=cast.project, actor=cast.ada, member_id=membership(cast.project, cast.ben), role="annotator")
    assert not AuditEvent.objects.exists()


def test_an_unknown_role_is_refused_by_name(cast):
    with pytest.raises(Invalid, match="no role 'owner'"):
        change_role(project=cast.project, actor=cast.ada, member_id=membership(cast.project, cast.ben), role="owner")


def test_the_last_admin_stays(cast):
    ada = membership(cast.project, cast.ada)
    with pytest.raises(LastAdmin):
        change_role(project=cast.project, actor=cast.ada, member_id=ada, role="viewer")
    with pytest.raises(LastAdmin):
        leave(project=cast.project, user=cast.ada)
    change_role(project=cast.project, actor=cast.ada, member_id=membership(cast.project, cast.mia), role="admin")
    leave(project=cast.project, user=cast.ada)
    assert role_of(cast.ada, cast.project) is None


def test_leaving_and_being_removed_are_told_apart_in_the_trail(cast):
    leave(project=cast.project, user=cast.vic)
    remove_member(project=cast.project, actor=cast.ada, member_id=membership(cast.project, cast.ben))
    events = AuditEvent.objects.order_by("id").values_list("action", "actor__name")
    assert list(events) == [("member.left", "Vic"), ("member.removed", "Ada")]


def test_a_member_of_another_project_is_not_there(cast):
    zoe = membership(cast.other_project, cast.zoe)
    for attempt in (
        lambda: change_role(project=cast.project, actor=cast.ada, member_id=zoe, role="viewer"),
        lambda: remove_member(project=cast.project, actor=cast.ada, member_id=zoe),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert role_of(cast.zoe, cast.other_project) == "admin"


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_demote_each_other_leave_one():
    cast = make_cast()
    Membership.objects.filter(project=cast.project, user=cast.mia).update(role="admin")
    ada, mia = membership(cast.project, cast.ada), membership(cast.project, cast.mia)
    outcomes = at_the_same_time(
        lambda: change_role(project=cast.project, actor=cast.ada, member_id=mia, role="viewer"),
        lambda: change_role(project=cast.project, actor=cast.mia, member_id=ada, role="viewer"),
    )
    assert Membership.objects.filter(project=cast.project, role="admin").count() == 1
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LastAdmin", "Membership"]


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_the_database_still_keeps_one_admin():
    """The same race by plain updates: each still finds the other's admin; the trigger decides at the commit."""
    cast = make_cast()
    Membership.objects.filter(project=cast.project, user=cast.mia).update(role="admin")

    def demote(user):
        with transaction.atomic():
            others = Membership.objects.filter(project=cast.project, role="admin").exclude(user=user)
            assert others.exists()
            Membership.objects.filter(project=cast.project, user=user).update(role="viewer")
            at_the_same_time.barrier.wait(5)  # both have written, neither has committed

    outcomes = at_the_same_time(lambda: demote(cast.ada), lambda: demote(cast.mia))
    assert sum(isinstance(outcome, IntegrityError) for outcome in outcomes) == 1
    assert Membership.objects.filter(project=cast.project, role="admin").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_project_can_be_deleted_with_its_admins():
    cast = make_cast()
    join(cast.other_project, cast.ada, "admin")
    cast.other_project.delete()
    assert not Membership.objects.filter(project_id=cast.other_project.pk).exists()


def test_the_trigger_names_its_constraint(cast):
    def demote_the_only_admin():
        Membership.objects.filter(project=cast.project, role="admin").update(role="viewer")
        connection.check_constraints()  # what a commit does

    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        demote_the_only_admin()
    assert refused.value.__cause__.diag.constraint_name == "project_keeps_an_admin"
