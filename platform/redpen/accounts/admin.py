"""What support staff look at: every table of ours. Nothing to edit but whether an account is open."""

from __future__ import annotations

from typing import Any, ClassVar

from django.apps import apps
from django.contrib import admin
from django.db import models, transaction
from django.http import HttpRequest

from redpen.accounts import audit

APPS = ("accounts", "annotation", "training")
HIDDEN = {"password", "token_hash", "secret_hash", "user_secret", "secret", "old_secret"}
FEW = 6  # columns of a list


class LookOnly(admin.ModelAdmin):
    """Records change through actions, which check and audit; here they are only read."""

    list_per_page = 50
    show_full_result_count = False  # counting a big table takes longer than reading a page of it
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-pk",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_staff

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

    def get_list_display(self, request: HttpRequest) -> list[str]:
        names = [field.name for field in self._shown() if not isinstance(field, models.TextField | models.JSONField)]
        first = [name for name in ("project", "name", "kind", "state", "action", "created_at", "at") if name in names]
        return ["pk", *first, *(name for name in names if name not in first)][:FEW]

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        keys = {field.name for field in self._shown() if field.is_relation}
        return [name for name in self.get_list_display(request) if name in keys]

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list[str]:
        return ["pk", *(field.name for field in self._shown())]

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list[str]:
        return self.get_fields(request, obj)

    def _shown(self) -> list[models.Field]:
        return [field for field in self.opts.concrete_fields if field.name not in HIDDEN and not field.primary_key]


class UserAdmin(LookOnly):
    """An account can be closed and opened again; its project memberships stay."""

    list_display: ClassVar[list[str]] = ["email", "name", "is_active", "is_staff", "last_login", "created_at"]
    search_fields: ClassVar[list[str]] = ["email", "name"]

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return self.list_display

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Not oneself; another member of the staff only as a superuser."""
        if not self.has_module_permission(request) or obj is None:
            return self.has_module_permission(request)
        return obj.pk != request.user.pk and (request.user.is_superuser or not (obj.is_staff or obj.is_superuser))

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list[str]:
        return [name for name in self.get_fields(request, obj) if name != "is_active"]

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.save(update_fields=["is_active"])
        action = "account.opened" if obj.is_active else "account.closed"
        audit.record(action, project=None, actor=request.user, subject=obj)


class ProjectAdmin(LookOnly):
    search_fields: ClassVar[list[str]] = ["name", "slug"]


SPECIAL: dict[str, type[LookOnly]] = {"accounts.user": UserAdmin, "accounts.project": ProjectAdmin}

for app in APPS:
    for model in apps.get_app_config(app).get_models():
        composite = isinstance(model._meta.pk, models.CompositePrimaryKey)  # figures; the admin cannot list these
        if not model._meta.auto_created and not composite and not admin.site.is_registered(model):
            admin.site.register(model, SPECIAL.get(model._meta.label_lower, LookOnly))
for extra in ("auth.Group",):
    if admin.site.is_registered(apps.get_model(extra)):
        admin.site.unregister(apps.get_model(extra))  # roles are ours
