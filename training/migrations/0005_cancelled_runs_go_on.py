"""A run that was cancelled may go back to the queue, from where it goes on at its last checkpoint. What has succeeded or
failed stays as it ended, and so does all that was launched.
"""

from django.db import migrations

FUNCTIONS = """
CREATE OR REPLACE FUNCTION training_run_may_go(before text, after text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (before, after) IN (
        ('queued', 'running'), ('queued', 'paused'), ('queued', 'cancelled'), ('queued', 'failed'),
        ('running', 'queued'), ('running', 'waiting'), ('running', 'paused'), ('running', 'cancelling'),
        ('running', 'succeeded'), ('running', 'failed'),
        ('waiting', 'queued'), ('waiting', 'paused'), ('waiting', 'cancelled'), ('waiting', 'failed'),
        ('paused', 'queued'), ('paused', 'cancelled'),
        ('cancelling', 'cancelled'), ('cancelled', 'queued')
    )
$$;

CREATE OR REPLACE FUNCTION training_run_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('succeeded', 'failed', 'cancelled') AND NOT training_run_may_go(OLD.state, NEW.state) THEN
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
"""
BEFORE = """
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
"""


class Migration(migrations.Migration):
    dependencies = [("training", "0004_comparisons")]

    operations = [migrations.RunSQL(FUNCTIONS, BEFORE)]
