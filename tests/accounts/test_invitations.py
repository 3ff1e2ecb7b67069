from datetime import timedelta

import pytest
from django.utils import timezone

from redpen.accounts.actions.invitations import (
    AlreadyMember,
    InvitationClosed,
    accept_invitation,
    find,
    invite,
    join_as_new_person,
    revoke_invitation,
)
from redpen.accounts.errors import Invalid, NotFound
from redpen.accounts.models import AuditEvent, Invitation, Membership, User
from redpen.accounts.rules import role_of
from tests.accounts.races import at_the_same_time
from tests.cast import PASSWORD, make_cast, make_user


def test_an_invitation_makes_a_member_with_its_role(cast):
    invitation, token = invite(project=cast.project, actor=cast.ada, role="annotator", note="for Zoe")
    assert find(token) == invitation
    accept_invitation(token=token, user=cast.zoe)
    assert role_of(cast.zoe, cast.project) == "annotator"
    assert list(AuditEvent.objects.order_by("id").values_list("action", flat=True)) == [
        "invitation.made",
        "member.joined",
    ]


def test_only_the_hash_of_the_token_is_kept(cast):
    invitation, token = invite(project=cast.project, actor=cast.ada, role="viewer")
    row = Invitation.objects.filter(pk=invitation.pk).values().get()
    assert len(token) >= 43
    assert token not in str(row)
    assert token not in str(list(AuditEvent.objects.values_list("data", flat=True)))


def test_a_new_person_gets_an_account_on_the_way(cast):
    _, token = invite(project=cast.project, actor=cast.ada, role="reviewer")
    join_as_new_person(token=token, name="Nia", email="Nia@Example.org", password=PASSWORD)
    nia = User.objects.get(email__iexact="nia@example.org")
    assert nia.check_password(PASSWORD)
    assert role_of(nia, cast.project) == "reviewer"


def test_an_address_that_is_taken_is_refused_in_any_case_and_the_link_stays_open(cast):
    _, token = invite(project=cast.project, actor=cast.ada, role="reviewer")
    with pytest.raises(Invalid) as refused:
        join_as_new_person(token=token, name="Zoe", email="ZOE@example.org", password=PASSWORD)
    assert refused.value.problems[0]["pointer"] == "/email"
    accept_invitation(token=token, user=cast.zoe)


def test_a_new_account_needs_an_address_and_a_password_that_will_do(cast):
    _, token = invite(project=cast.project, actor=cast.ada, role="reviewer")
    with pytest.raises(Invalid) as refused:
        join_as_new_person(token=token, name="Nia", email="nia", password="12345")
    assert {problem["pointer"] for problem in refused.value.problems} == {"/email", "/password"}
    assert not User.objects.filter(name="Nia").exists()


def test_an_invitation_is_good_for_one(cast):
    _, token = invite(project=cast.project, actor=cast.ada, role="viewer")
    accept_invitation(token=token, user=cast.zoe)
    with pytest.raises(InvitationClosed, match="used already"):
        accept_invitation(token=token, user=make_user("Nia"))


def test_accepting_twice_is_harmless(cast):
    _, token = invite(project=cast.project, actor=cast.ada, role="viewer")
    assert accept_invitation(token=token, user=cast.zoe) == accept_invitation(token=token, user=cast.zoe)
    assert AuditEvent.objects.filter(action="member.joined").count() == 1


def test_somebody_who_was_removed_does_not_come_back_by_his_old_link(cast):
    _, token = invite(project=cast.project, actor=cast.ada, role="viewer")
    accept_invitation(token=token, user=cast.zoe).delete()
    with pytest.raises(InvitationClosed):
        accept_invitation(token=token, user=cast.zoe)


def test_a_member_does_not_use_up_an_invitation(cast):
    _, token = invite(project=cast.project, actor=cast.ada, role="admin")
    with pytest.raises(AlreadyMember):
        accept_invitation(token=token, user=cast.ben)
    assert role_of(cast.ben, cast.project) == "annotator"
    accept_invitation(token=token, user=cast.zoe)


def test_an_old_or_revoked_or_invented_link_lets_nobody_in(cast):
    old, old_token = invite(project=cast.project, actor=cast.ada, role="viewer")
    Invitation.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    revoked, revoked_token = invite(project=cast.project, actor=cast.ada, role="viewer")
    for _ in range(2):
        revoke_invitation(project=cast.project, actor=cast.ada, invitation_id=revoked.pk)
    for token, error in ((old_token, InvitationClosed), (revoked_token, InvitationClosed), ("invented", NotFound)):
        with pytest.raises(error):
            accept_invitation(token=token, user=cast.zoe)
        with pytest.raises(error):
            join_as_new_person(token=token, name="Nia", email="nia@example.org", password=PASSWORD)
    assert AuditEvent.objects.filter(action="invitation.revoked").count() == 1
    assert not User.objects.filter(name="Nia").exists()


def test_another_projects_invitation_cannot_be_revoked(cast):
    invitation, _ = invite(project=cast.project, actor=cast.ada, role="viewer")
    with pytest.raises(NotFound):
        revoke_invitation(project=cast.other_project, actor=cast.zoe, invitation_id=invitation.pk)


@pytest.mark.django_db(transaction=True)
def test_of_two_people_with_one_link_one_gets_in():
    cast = make_cast()
    nia = make_user("Nia")
    _, token = invite(project=cast.project, actor=cast.ada, role="viewer")
    outcomes = at_the_same_time(
        lambda: accept_invitation(token=token, user=cast.zoe), lambda: accept_invitation(token=token, user=nia)
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvitationClosed", "Membership"]
    assert Membership.objects.filter(project=cast.project, user__in=[nia, cast.zoe]).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_double_click_on_accept_makes_one_membership():
    cast = make_cast()
    _, token = invite(project=cast.project, actor=cast.ada, role="viewer")
    outcomes = at_the_same_time(*[lambda: accept_invitation(token=token, user=cast.zoe)] * 2)
    assert outcomes[0] == outcomes[1] == Membership.objects.get(project=cast.project, user=cast.zoe)


@pytest.mark.django_db(transaction=True)
def test_two_links_for_one_person_make_one_membership():
    cast = make_cast()
    tokens = [invite(project=cast.project, actor=cast.ada, role=role)[1] for role in ("viewer", "reviewer")]
    outcomes = at_the_same_time(
        *[lambda token=token: accept_invitation(token=token, user=cast.zoe) for token in tokens]
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyMember", "Membership"]
    assert Invitation.objects.filter(accepted_at=None).count() == 1
