"""Forms of signing in, joining, oneself and a project."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, SetPasswordForm

from redpen.accounts.actions.signing_in import TooManyAttempts, attempt_succeeded, begin_attempt
from redpen.accounts.errors import RedpenError
from redpen.accounts.models import Role

ROLES = {
    Role.ADMIN: "Admin: everything, members and training too",
    Role.REVIEWER: "Reviewer: labels, sees and exports all records",
    Role.ANNOTATOR: "Annotator: labels, sees own records",
    Role.DEVELOPER: "Developer: imports and exports, the API",
    Role.VIEWER: "Viewer: looks on",
}


class SignInForm(AuthenticationForm):
    """Django's form, with a limit on attempts."""

    error_messages: ClassVar[dict[str, str]] = {
        "invalid_login": "This address and this password do not belong together. Capitals matter in the password.",
        "inactive": "This account was closed. Ask whoever runs this installation.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail"
        self.fields["username"].widget = forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True})

    def clean(self) -> dict[str, Any]:
        email = self.cleaned_data.get("username", "")
        try:
            attempt = begin_attempt(email=email, address=self.request.META.get("REMOTE_ADDR") or "")
        except TooManyAttempts as error:
            raise forms.ValidationError(error.message, code=error.code) from None
        cleaned = super().clean()
        attempt_succeeded(attempt)
        return cleaned


class NewPasswordForm(SetPasswordForm):
    """Django's form, in our words."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first, second = self.fields["new_password1"], self.fields["new_password2"]
        first.help_text, second.help_text = "At least 10 characters, and none that everybody uses.", ""
        second.label = "New password once more"


class ChangePasswordForm(NewPasswordForm, PasswordChangeForm):
    """The same with the old password; it does not take the focus, for it is not the page's first form."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["old_password"].widget.attrs["autofocus"]


class NewPersonForm(forms.Form):
    """What an invited person says to get an account; the action checks it."""

    name = forms.CharField(max_length=120, label="Your name", widget=forms.TextInput(attrs={"autocomplete": "name"}))
    email = forms.EmailField(max_length=254, label="E-mail", widget=forms.EmailInput(attrs={"autocomplete": "email"}))
    password = forms.CharField(
        strip=False,
        help_text="At least 10 characters.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class NameForm(forms.Form):
    name = forms.CharField(max_length=120, label="Your name", widget=forms.TextInput(attrs={"autocomplete": "name"}))


class ProjectForm(forms.Form):
    name = forms.CharField(max_length=120)
    description = forms.CharField(
        required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 3}), help_text="What it is about."
    )


class InviteForm(forms.Form):
    role = forms.ChoiceField(choices=list(ROLES.items()), initial=Role.ANNOTATOR)
    note = forms.CharField(max_length=120, required=False, label="For whom", help_text="Only admins see this.")


def take_problems(form: forms.Form, error: RedpenError) -> None:
    """Put what an action refused beside the fields that it names; the rest above the form."""
    for problem in error.problems:
        name = problem["pointer"].removeprefix("/").partition("/")[0]
        form.add_error(name if name in form.fields else None, problem["message"])
    if not error.problems:
        form.add_error(None, error.message)
