from django.apps import AppConfig


class AnnotationConfig(AppConfig):
    name = "annotation"
    label = "annotation"

    def ready(self) -> None:
        from annotation.actions.campaigns import furnish
        from redpen.accounts.registry import on_project_created

        @on_project_created
        def furnish_new_project(project, creator) -> None:
            furnish(project=project, actor=creator)
