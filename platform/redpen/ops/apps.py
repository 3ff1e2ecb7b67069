from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "redpen.ops"
    label = "ops"
