"""The site for support staff, at /support/: every record can be looked at, none edited. Sign-in is ours."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect

from redpen.accounts.errors import MissingRole
from redpen.accounts.rules import signed_in


class SupportSite(AdminSite):
    site_header = "Redpen support"
    site_title = "Redpen support"
    index_title = "Records, to look at"
    site_url = "/"
    empty_value_display = "—"
    enable_nav_sidebar = False

    def login(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        """Where everybody without the right lands: the one sign-in page, with its limits, is not doubled here."""
        signed_in(request)
        if not self.has_permission(request):
            raise MissingRole(
                "This part is for support staff. Whoever runs this installation can make you one of them."
            )
        return redirect("admin:index")

    def admin_view(self, view, cacheable: bool = False):
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args, **kwargs) -> HttpResponse:
            if not request.user.is_authenticated:
                return HttpResponseRedirect(f"/sign-in/?{urlencode({'next': request.get_full_path()})}")
            if not self.has_permission(request):
                return self.login(request)
            return inner(request, *args, **kwargs)

        return guarded

    def logout(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        return redirect("account")

    def password_change(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        return redirect("account")

    password_change_done = password_change
