from django.apps import AppConfig


class ServicesConfig(AppConfig):
    name = "redpen.services"
    label = "services"
