"""Triggers, told of the live intake's columns (see 0002).

- A reaction is joined when its answer comes, and an answer to its parent; both then count as new (`xact`).
- Kinds of reactions are never deleted but by erasing: reactions point at them without a foreign key.
"""

from __future__ import annotations

from django.db import migrations

FUNCTION = """
CREATE OR REPLACE FUNCTION annotation_keep_record() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    allowed text[] := string_to_array(TG_ARGV[0], ' ');
    was jsonb := to_jsonb(OLD);
    becomes jsonb := to_jsonb(NEW);
    changed text;
BEGIN
    FOR changed IN
        SELECT after.key FROM jsonb_each(becomes) AS after WHERE after.value IS DISTINCT FROM was -> after.key
    LOOP
        IF NOT changed = ANY (allowed)
            OR (changed = 'act_id' AND becomes ->> changed IS NOT NULL)
            OR (changed = 'parent_id' AND becomes ->> changed IS NOT NULL
                AND (was ->> changed IS NOT NULL OR coalesce(was ->> 'parent_external_id', '') = ''))
            OR (changed = 'response_id' AND was ->> changed IS NOT NULL)
        THEN
            RAISE EXCEPTION 'A record is never overwritten: % of % % cannot change. Supersede or retract it.',
                changed, TG_TABLE_NAME, OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'record_never_overwritten', TABLE = TG_TABLE_NAME;
        END IF;
        IF changed IN ('ended_at', 'ended_by_id', 'end_reason') AND was ->> 'ended_at' IS NOT NULL THEN
            RAISE EXCEPTION '% % has ended and stays ended. Say it again as a new version.', TG_TABLE_NAME, OLD.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'record_stays_ended', TABLE = TG_TABLE_NAME;
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
"""
ENDING = "ended_at ended_by_id end_reason"


def keep(table: str, allowed: str) -> str:
    return (
        f"CREATE OR REPLACE TRIGGER keep_record BEFORE UPDATE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION annotation_keep_record('{allowed}');"
    )


class Migration(migrations.Migration):
    dependencies = [("annotation", "0004_live_intake")]

    operations = [
        migrations.RunSQL(
            sql=[
                FUNCTION,
                keep("annotation_reaction", f"{ENDING} response_id xact"),
                keep("annotation_response", "metadata parent_id xact"),
                "CREATE OR REPLACE TRIGGER keep_from_delete BEFORE DELETE ON annotation_reactionkind "
                "FOR EACH ROW EXECUTE FUNCTION annotation_keep_from_delete();",
            ],
            reverse_sql=[
                "DROP TRIGGER IF EXISTS keep_from_delete ON annotation_reactionkind;",
                keep("annotation_reaction", f"{ENDING} act_id response_id"),
                keep("annotation_response", "metadata parent_id"),
            ],
        )
    ]
