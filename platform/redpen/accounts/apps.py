from django.apps import AppConfig
from django.contrib.admin import apps as admin


class AccountsConfig(AppConfig):
    name = "redpen.accounts"
    label = "accounts"
    default = True


class SupportConfig(admin.AdminConfig):
    """django.contrib.admin with our rules for who gets in: redpen.accounts.support."""

    default = False
    default_site = "redpen.accounts.support.SupportSite"
