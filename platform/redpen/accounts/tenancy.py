"""Walls between projects that the database itself keeps."""

from __future__ import annotations

from typing import Any

from django.db.backends.ddl_references import Statement, Table
from django.db.models import BaseConstraint, Model


class SameProject(BaseConstraint):
    """A foreign key that includes the project: a row cannot point at another project's row.

    `field` is the plain foreign key on this model; the target must be unique on (project, id), see `unique_in_project`.
    Deferred to the commit like Django's own foreign keys. A null key is not checked.
    """

    def __init__(self, *, field: str, name: str) -> None:
        super().__init__(name=name)
        self.field = field

    def _sql(self, model: type[Model], schema_editor: Any) -> str:
        column = model._meta.get_field(self.field)
        quote = schema_editor.quote_name
        return (
            f"ALTER TABLE {quote(model._meta.db_table)} ADD CONSTRAINT {quote(self.name)} "
            f"FOREIGN KEY ({quote('project_id')}, {quote(column.column)}) "
            f"REFERENCES {quote(column.remote_field.model._meta.db_table)} ({quote('project_id')}, {quote('id')}) "
            "DEFERRABLE INITIALLY DEFERRED"
        )

    def constraint_sql(self, model: type[Model], schema_editor: Any) -> None:
        self.create_sql(model, schema_editor)

    def create_sql(self, model: type[Model], schema_editor: Any) -> None:
        # At the migration's end: the target table, or its unique constraint, may be made later in the same migration.
        table = Table(model._meta.db_table, schema_editor.quote_name)
        schema_editor.deferred_sql.append(Statement(self._sql(model, schema_editor), table=table))

    def remove_sql(self, model: type[Model], schema_editor: Any) -> str:
        quote = schema_editor.quote_name
        return f"ALTER TABLE {quote(model._meta.db_table)} DROP CONSTRAINT {quote(self.name)}"

    def validate(self, model: type[Model], instance: Model, exclude: Any = None, using: str = "default") -> None:
        """Nothing here: the action's query starts from the project; under concurrency the database decides."""

    def deconstruct(self) -> tuple[str, tuple[()], dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "field": self.field}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameProject) and (self.name, self.field) == (other.name, other.field)

    __hash__ = BaseConstraint.__hash__
