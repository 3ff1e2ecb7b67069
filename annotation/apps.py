from django.apps import AppConfig


class AnnotationConfig(AppConfig):
    name = "annotation"
    label = "annotation"

    def ready(self) -> None:
        from django.conf import settings

        from annotation import erasure_rules, redaction  # noqa: F401 - the rules register themselves
        from annotation.actions.campaigns import furnish
        from redpen.accounts.registry import on_project_created
        from redpen.ops.registry import on_restored

        redaction.library = settings.REDACTOR

        @on_project_created
        def furnish_new_project(project, creator) -> None:
            furnish(project=project, actor=creator)

        @on_restored
        def erase_again() -> str:
            from annotation.actions.erasing_users import replay

            return f"Erased again, as the ledger says: {count} users" if (count := replay()) else ""
