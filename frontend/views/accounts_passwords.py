"""A forgotten password: Django's own views, in our pages and in the audit trail."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import INTERNAL_RESET_SESSION_TOKEN, PasswordResetConfirmView, PasswordResetView
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from frontend.forms.accounts import NewPasswordForm
from redpen.accounts.actions.passwords import set_password
from redpen.accounts.actions.signing_in import begin_attempt


@method_decorator(require_http_methods(["GET", "HEAD", "POST"]), name="dispatch")
class Forgotten(PasswordResetView):
    """Sends a link, if mail can be sent and the address is known; it never says whether it is."""

    template_name = "accounts/password_forgotten.html"
    email_template_name = "accounts/password_reset_email.txt"
    subject_template_name = "accounts/password_reset_subject.txt"
    success_url = reverse_lazy("sign_in")

    def get_context_data(self, **kwargs: object) -> dict:
        return super().get_context_data(sends_mail=sends_mail(), **kwargs)

    def form_valid(self, form: Form) -> HttpResponse:
        if not sends_mail():
            return self.form_invalid(form)
        # the same limit as for signing in: nobody's letter-box is filled from here
        begin_attempt(email=f"reset {form.cleaned_data['email']}", address=self.request.META.get("REMOTE_ADDR") or "")
        messages.info(
            self.request, "If there is an account with this address, a letter with a link is on its way to it."
        )
        return super().form_valid(form)

    def form_invalid(self, form: Form) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=422)


@method_decorator(require_http_methods(["GET", "HEAD", "POST"]), name="dispatch")
class Reset(PasswordResetConfirmView):
    """Where the link leads, from a letter, an admin or the command line."""

    template_name = "accounts/password_reset.html"
    form_class = NewPasswordForm

    def render_to_response(self, context: dict, **kwargs: object) -> HttpResponse:
        if not self.validlink:
            kwargs["status"] = 404
        elif context["form"].errors:
            kwargs["status"] = 422
        return super().render_to_response(context, **kwargs)

    def form_valid(self, form: Form) -> HttpResponse:
        set_password(user=self.user, password=form.cleaned_data["new_password1"], action="password.reset")
        del self.request.session[INTERNAL_RESET_SESSION_TOKEN]
        messages.success(self.request, "Your new password is set. Sign in with it.")
        return redirect("sign_in")


def sends_mail() -> bool:
    return not settings.EMAIL_BACKEND.endswith(".dummy.EmailBackend")
