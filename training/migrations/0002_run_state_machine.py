"""The promises about runs that no table constraint can express: triggers keep them, whoever writes.

- A run changes state only along the transitions of `training_run_may_go`; `training.actions.states` repeats them for
  people and a test compares both. What has ended stays as it ended.
- `attempt` is the fence: it grows by one when a worker takes the run and never otherwise.
- Events are appended by the attempt that holds the run, and by nobody else.
- A snapshot that is ready stays as it is.
"""

from django.db import migrations, models

from redpen.accounts.tenancy import SameProject

FUNCTIONS = """
CREATE OR REPLACE FUNCTION training_run_may_go(before text, after text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (before, after) IN (
        ('queued', 'running'), ('queued', 'paused'), ('queued', 'cancelled'), ('queued', 'failed'),
        ('running', 'queued'), ('running', 'waiting'), ('running', 'paused'), ('running', 'cancelling'),
        ('running', 'succeeded'), ('running', 'failed'),
        ('waiting', 'queued'), ('waiting', 'paused'), ('waiting', 'cancelled'), ('waiting', 'failed'),
        ('paused', 'queued'), ('paused', 'cancelled'),
        ('cancelling', 'cancelled')
    )
$$;

CREATE OR REPLACE FUNCTION training_run_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('succeeded', 'failed', 'cancelled') THEN
        IF to_jsonb(NEW) - 'name' IS DISTINCT FROM to_jsonb(OLD) - 'name' THEN
            RAISE EXCEPTION 'run % has ended (%) and does not change', OLD.number, OLD.state
                USING ERRCODE = 'check_violation', CONSTRAINT = 'run_ended_stays';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state AND NOT training_run_may_go(OLD.state, NEW.state) THEN
        RAISE EXCEPTION 'run % cannot go from % to %', OLD.number, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'run_transition_known';
    END IF;
    IF NEW.attempt <> OLD.attempt + (CASE WHEN NEW.state = 'running' AND OLD.state <> 'running' THEN 1 ELSE 0 END) THEN
        RAISE EXCEPTION 'run %: attempt % cannot follow attempt % (% to %)',
            OLD.number, NEW.attempt, OLD.attempt, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'run_attempt_fences';
    END IF;
    IF NEW.attempts_allowed < OLD.attempts_allowed THEN
        RAISE EXCEPTION 'run %: attempts are given, not taken back', OLD.number
            USING ERRCODE = 'check_violation', CONSTRAINT = 'run_attempts_given';
    END IF;
    IF (NEW.project_id, NEW.number, NEW.recipe, NEW.config, NEW.seed, NEW.base_model_id)
        IS DISTINCT FROM (OLD.project_id, OLD.number, OLD.recipe, OLD.config, OLD.seed, OLD.base_model_id)
        OR (OLD.snapshot_id IS NOT NULL AND NEW.snapshot_id IS DISTINCT FROM OLD.snapshot_id) THEN
        RAISE EXCEPTION 'run %: what was launched does not change; launch another', OLD.number
            USING ERRCODE = 'check_violation', CONSTRAINT = 'run_launched_stays';
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
    IF TG_OP = 'DELETE' AND current_setting('redpen.erasing', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'events of a run are only appended'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'run_event_append_only';
END $$;

CREATE OR REPLACE FUNCTION training_snapshot_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'ready' THEN
        RAISE EXCEPTION 'snapshot % is ready and does not change', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'snapshot_ready_stays';
    END IF;
    IF NEW.query IS DISTINCT FROM OLD.query OR NEW.project_id <> OLD.project_id THEN
        RAISE EXCEPTION 'snapshot %: its query is frozen', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'snapshot_query_frozen';
    END IF;
    RETURN NEW;
END $$;

DROP TRIGGER IF EXISTS training_run_guard ON training_run;
CREATE TRIGGER training_run_guard BEFORE UPDATE ON training_run
    FOR EACH ROW EXECUTE FUNCTION training_run_guard();
DROP TRIGGER IF EXISTS training_run_event_guard ON training_runevent;
CREATE TRIGGER training_run_event_guard BEFORE INSERT OR UPDATE OR DELETE ON training_runevent
    FOR EACH ROW EXECUTE FUNCTION training_run_event_guard();
DROP TRIGGER IF EXISTS training_snapshot_guard ON training_snapshot;
CREATE TRIGGER training_snapshot_guard BEFORE UPDATE ON training_snapshot
    FOR EACH ROW EXECUTE FUNCTION training_snapshot_guard();
"""

UNDO = """
DROP TRIGGER IF EXISTS training_run_guard ON training_run;
DROP TRIGGER IF EXISTS training_run_event_guard ON training_runevent;
DROP TRIGGER IF EXISTS training_snapshot_guard ON training_snapshot;
DROP FUNCTION IF EXISTS training_run_guard, training_run_event_guard, training_snapshot_guard, training_run_may_go;
"""


class Migration(migrations.Migration):
    dependencies = [("training", "0001_initial")]

    operations = [
        migrations.AddField(
            "run",
            "again_of",
            models.ForeignKey(
                "training.Run",
                null=True,
                on_delete=models.CASCADE,
                related_name="again",
                help_text="the ended run that this one repeats",
            ),
        ),
        migrations.AddConstraint("run", SameProject(field="again_of", name="run_again_of_same_project")),
        migrations.RunSQL(FUNCTIONS, UNDO),
    ]
