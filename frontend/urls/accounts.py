"""Signing in, projects, members, invitations, API keys, the audit trail."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import accounts, accounts_keys, accounts_members, accounts_passwords, accounts_projects

urlpatterns: list[URLPattern | URLResolver] = [
    path("sign-in/", accounts.SignIn.as_view(), name="sign_in"),
    path("sign-out/", accounts.sign_out, name="sign_out"),
    path("account/", accounts.account, name="account"),
    path("account/name/", accounts.rename, name="account_name"),
    path("account/password/", accounts.change_password, name="account_password"),
    path("invite/<str:token>/", accounts.invitation, name="invitation"),
    path("password/forgotten/", accounts_passwords.Forgotten.as_view(), name="password_reset"),
    path("password/reset/<str:uidb64>/<str:token>/", accounts_passwords.Reset.as_view(), name="password_reset_confirm"),
    path("projects/new/", accounts_projects.new_project, name="new_project"),
    path("p/<slug:slug>/settings/", accounts_projects.project_settings, name="project_settings"),
    path("p/<slug:slug>/audit/", accounts_projects.audit_trail, name="audit"),
    path("p/<slug:slug>/leave/", accounts_members.leave_project, name="leave_project"),
    path("p/<slug:slug>/members/", accounts_members.members, name="members"),
    path("p/<slug:slug>/members/invite/", accounts_members.invite_member, name="invite_member"),
    path("p/<slug:slug>/members/<uuid:member_id>/role/", accounts_members.change_member_role, name="member_role"),
    path("p/<slug:slug>/members/<uuid:member_id>/remove/", accounts_members.remove, name="remove_member"),
    path("p/<slug:slug>/members/<uuid:member_id>/reset-link/", accounts_members.reset_link, name="member_reset_link"),
    path("p/<slug:slug>/invitations/<uuid:invitation_id>/revoke/", accounts_members.revoke, name="revoke_invitation"),
    path("p/<slug:slug>/keys/", accounts_keys.keys, name="keys"),
    path("p/<slug:slug>/keys/<uuid:key_id>/rotate/", accounts_keys.rotate, name="rotate_key"),
    path("p/<slug:slug>/keys/<uuid:key_id>/revoke/", accounts_keys.revoke, name="revoke_key"),
]
