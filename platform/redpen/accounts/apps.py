from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "redpen.accounts"
    label = "accounts"
