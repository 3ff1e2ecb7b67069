"""Signing in and out, being invited, and oneself."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.views import LoginView
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.forms.accounts import ChangePasswordForm, NameForm, NewPersonForm, SignInForm, take_problems
from redpen.accounts.actions import invitations
from redpen.accounts.actions.passwords import rename_person, set_password
from redpen.accounts.actions.signing_in import TooManyAttempts
from redpen.accounts.demo import DEMO_LOGINS
from redpen.accounts.errors import Invalid
from redpen.accounts.models import Project, User
from redpen.accounts.queries.members import projects_of
from redpen.accounts.rules import signed_in


@method_decorator(require_http_methods(["GET", "HEAD", "POST"]), name="dispatch")
class SignIn(LoginView):
    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: object) -> dict:
        demo = DEMO_LOGINS if Project.objects.filter(is_demo=True).exists() else ()
        nobody = not demo and not User.objects.exists()
        return super().get_context_data(demo_logins=demo, nobody=nobody, **kwargs)

    def form_invalid(self, form: Form) -> HttpResponse:
        response = self.render_to_response(self.get_context_data(form=form), status=422)
        if form.has_error("__all__", TooManyAttempts.code):
            response.status_code = TooManyAttempts.status
            response["Retry-After"] = str(TooManyAttempts.retry_after)
        return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("sign_in")


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """What the link offers; a person without an account makes one here."""
    if request.method == "POST" and request.user.is_authenticated:
        membership = invitations.accept_invitation(token=token, user=request.user)
        return redirect("project", membership.project.slug)
    offer = invitations.find(token)
    form = NewPersonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            membership = invitations.join_as_new_person(token=token, **form.cleaned_data)
        except Invalid as error:
            take_problems(form, error)
        else:
            login(request, membership.user)
            return redirect("project", membership.project.slug)
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/invitation.html", {"invitation": offer, "form": form}, status=status)


@require_safe
def account(request: HttpRequest) -> HttpResponse:
    return _account_page(request, signed_in(request))


def _account_page(
    request: HttpRequest, user: User, *, name_form: Form | None = None, password_form: Form | None = None
) -> HttpResponse:
    context = {
        "name_form": name_form or NameForm(initial={"name": user.name}),
        "password_form": password_form or ChangePasswordForm(user),
        "memberships": projects_of(user),
    }
    return render(request, "accounts/account.html", context, status=422 if name_form or password_form else 200)


@require_POST
def rename(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    form = NameForm(request.POST)
    if not form.is_valid():
        return _account_page(request, user, name_form=form)
    rename_person(user=user, name=form.cleaned_data["name"])
    messages.success(request, "Your name is changed.")
    return redirect(reverse("account"))


@sensitive_post_parameters()
@require_POST
def change_password(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    form = ChangePasswordForm(user, request.POST)
    if not form.is_valid():
        return _account_page(request, user, password_form=form)
    set_password(user=user, password=form.cleaned_data["new_password1"], action="password.changed")
    update_session_auth_hash(request, user)  # this session goes on, all others end
    messages.success(request, "Your password is changed. You are signed out everywhere else.")
    return redirect(reverse("account"))
