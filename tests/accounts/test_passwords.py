import pytest
from django.core.management import CommandError, call_command

from redpen.accounts.actions.passwords import NotYoursToReset, make_reset_link
from redpen.accounts.actions.signing_in import TooManyAttempts, attempt_succeeded, begin_attempt
from redpen.accounts.models import AuditEvent, Membership, SignInAttempt
from tests.accounts.races import at_the_same_time
from tests.cast import join


def link_for(cast, member):
    membership = Membership.objects.get(project=cast.project, user=member)
    return make_reset_link(project=cast.project, actor=cast.ada, member_id=membership.pk)


def test_an_admin_makes_a_link_for_a_member_of_his_projects_only(cast):
    assert link_for(cast, cast.ben).startswith("/password/reset/")
    join(cast.other_project, cast.ben, "viewer")
    with pytest.raises(NotYoursToReset, match="reset_link"):
        link_for(cast, cast.ben)
    assert AuditEvent.objects.get(action="password.reset_link_made").subject_id == cast.ben.pk


def test_staff_and_oneself_cannot_be_reset_by_an_admin(cast):
    cast.mia.is_staff = True
    cast.mia.save(update_fields=["is_staff"])
    for person in (cast.mia, cast.ada):
        with pytest.raises(NotYoursToReset):
            link_for(cast, person)


def test_the_operator_makes_a_link_for_anybody(cast, capsys):
    call_command("reset_link", "ZOE@example.org")
    assert capsys.readouterr().out.startswith("/password/reset/")
    assert AuditEvent.objects.get().agent == "manage.py reset_link"
    with pytest.raises(CommandError, match="no active account"):
        call_command("reset_link", "nobody@example.org")


def test_who_fails_too_often_waits_and_others_do_not(cast):
    for _ in range(5):
        begin_attempt(email="ada@example.org", address="10.0.0.1")
    with pytest.raises(TooManyAttempts):
        begin_attempt(email=" ADA@example.org", address="10.0.0.1")
    begin_attempt(email="ada@example.org", address="10.0.0.2")
    begin_attempt(email="ben@example.org", address="10.0.0.1")


def test_one_address_that_tries_many_people_waits(cast):
    for number in range(60):
        begin_attempt(email=f"person{number}@example.org", address="10.0.0.1")
    with pytest.raises(TooManyAttempts):
        begin_attempt(email="another@example.org", address="10.0.0.1")


def test_a_right_password_strikes_out_the_wrong_ones(cast):
    for _ in range(4):
        begin_attempt(email="ada@example.org", address="10.0.0.1")
    attempt_succeeded(begin_attempt(email="ada@example.org", address="10.0.0.1"))
    assert not SignInAttempt.objects.exists()


def test_what_was_typed_as_an_address_is_not_kept(cast):
    begin_attempt(email="my-password", address="10.0.0.1")
    assert "my-password" not in str(SignInAttempt.objects.values().get())


@pytest.mark.django_db(transaction=True)
def test_many_attempts_at_the_same_moment_do_not_slip_through():
    outcomes = at_the_same_time(*[lambda: begin_attempt(email="ada@example.org", address="10.0.0.1")] * 12)
    assert sum(isinstance(outcome, SignInAttempt) for outcome in outcomes) <= 5
    assert sum(isinstance(outcome, TooManyAttempts) for outcome in outcomes) >= 7
