from redpen.accounts.rules import role_of


def test_the_cast_has_one_member_of_each_role_and_a_stranger(cast):
    for role in ("admin", "reviewer", "annotator", "developer", "viewer"):
        assert role_of(cast.with_role(role), cast.project) == role
    assert role_of(cast.zoe, cast.project) is None
    assert role_of(cast.zoe, cast.other_project) == "admin"
