"""A snapshot without the rows of people who were erased: a new content hash beside the old one.

Snapshots that are ready and events of runs change inside `annotation.erasure.erasing()`, and nowhere else.
"""

from __future__ import annotations

from django.db import migrations, models

GUARDS = """
CREATE OR REPLACE FUNCTION training_snapshot_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'ready' AND current_setting('redpen.erasing', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'snapshot % is ready and does not change', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'snapshot_ready_stays';
    END IF;
    IF NEW.query IS DISTINCT FROM OLD.query OR NEW.project_id <> OLD.project_id THEN
        RAISE EXCEPTION 'snapshot %: its query is frozen', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'snapshot_query_frozen';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION training_run_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT EXISTS (
            SELECT 1 FROM training_run
            WHERE id = NEW.run_id AND attempt = NEW.attempt AND state IN ('running', 'cancelling')
        ) THEN
            RAISE EXCEPTION 'attempt % does not hold this run', NEW.attempt
                USING ERRCODE = 'check_violation', CONSTRAINT = 'run_event_fenced';
        END IF;
        RETURN NEW;
    END IF;
    IF current_setting('redpen.erasing', true) = 'on' THEN
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        IF to_jsonb(NEW) - 'data' = to_jsonb(OLD) - 'data' THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'events of a run are only appended'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'run_event_append_only';
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("training", "0005_cancelled_runs_go_on")]

    operations = [
        migrations.AddField(
            "snapshot",
            "erased",
            models.JSONField(default=list, help_text="[{at, rows, was}]: rows that went, and the hash before"),
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
    ]
