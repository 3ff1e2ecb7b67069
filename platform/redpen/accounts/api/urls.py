"""Oneself, projects, members, invitations, API keys and the audit trail; mounted under /api/v1/."""

from django.urls import URLPattern, path

from redpen.accounts.api import keys, people, projects

PROJECT = "projects/<slug:slug>"
urlpatterns: list[URLPattern] = [
    path("me", people.MeView.as_view(), name="api-me"),
    path("invitations/accept", people.AcceptView.as_view(), name="api-invitation-accept"),
    path("projects", projects.ProjectsView.as_view(), name="api-projects"),
    path(PROJECT, projects.OneProjectView.as_view(), name="api-project"),
    path(f"{PROJECT}/audit", projects.AuditView.as_view(), name="api-audit"),
    path(f"{PROJECT}/members", people.MembersView.as_view(), name="api-members"),
    path(f"{PROJECT}/members/<uuid:member_id>", people.MemberView.as_view(), name="api-member"),
    path(f"{PROJECT}/members/<uuid:member_id>/reset-link", people.ResetLinkView.as_view(), name="api-reset-link"),
    path(f"{PROJECT}/invitations", people.InvitationsView.as_view(), name="api-invitations"),
    path(f"{PROJECT}/invitations/<uuid:invitation_id>", people.InvitationView.as_view(), name="api-invitation"),
    path(f"{PROJECT}/keys", keys.KeysView.as_view(), name="api-keys"),
    path(f"{PROJECT}/keys/<uuid:key_id>", keys.KeyView.as_view(), name="api-key"),
    path(f"{PROJECT}/keys/<uuid:key_id>/rotate", keys.RotateKeyView.as_view(), name="api-key-rotate"),
]
