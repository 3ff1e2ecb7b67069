"""Triggers: what was said is never overwritten, and a marked phrase is what stands there.

- A row of the tables below may change only in the columns named as allowed; feedback that has ended stays ended.
- Feedback is deleted only inside `annotation.erasure.erasing()` (the setting redpen.erasing is on).
- A span on the final text has the quote that its offsets cut.

Each refusal carries a constraint name, as if it were a constraint. May run twice.
"""

from __future__ import annotations

from django.db import migrations

FEEDBACK = [
    "choice",
    "comment",
    "critique",
    "outcome",
    "preference",
    "ranking",
    "rating",
    "reaction",
    "report",
    "rewrite",
    "skip",
    "spancritique",
]
ENDING = "ended_at ended_by_id end_reason"

# act_id and parent_id become null when an act or a parent answer is erased (on_delete=SET_NULL)
ALLOWED = {f"annotation_{kind}": f"{ENDING} act_id" for kind in FEEDBACK} | {
    # a reaction may come before its answer: joined when that comes
    "annotation_reaction": f"{ENDING} act_id response_id",
    # talk is closed by hand
    "annotation_comment": f"{ENDING} act_id resolved_at",
    "annotation_prompt": "metadata",
    "annotation_response": "metadata parent_id",
    "annotation_evidence": "",
    "annotation_act": "",
}

FUNCTIONS = """
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
            OR (changed IN ('act_id', 'parent_id') AND becomes ->> changed IS NOT NULL)
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

CREATE OR REPLACE FUNCTION annotation_keep_from_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('redpen.erasing', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION '% % is not deleted but retracted; erasing people or projects runs in annotation.erasure.erasing().',
            TG_TABLE_NAME, OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'record_never_deleted', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN OLD;
END $$;

CREATE OR REPLACE FUNCTION annotation_check_quote() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    found text;
    size integer;
BEGIN
    SELECT substr(text, NEW.start + 1, NEW."end" - NEW.start), length(text) INTO found, size
        FROM annotation_response WHERE id = NEW.response_id;
    IF found IS DISTINCT FROM NEW.quote OR NEW."end" > size THEN
        RAISE EXCEPTION 'The text at %-% of response % is not the quote of the span.', NEW.start, NEW."end", NEW.response_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'span_quote_matches_text', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
"""


def triggers() -> list[tuple[str, str]]:
    """(make, drop) of each trigger."""
    pairs = []
    for table, allowed in ALLOWED.items():
        pairs.append(
            (
                f"CREATE OR REPLACE TRIGGER keep_record BEFORE UPDATE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION annotation_keep_record('{allowed}');",
                f"DROP TRIGGER IF EXISTS keep_record ON {table};",
            )
        )
    for kind in FEEDBACK:
        table = f"annotation_{kind}"
        pairs.append(
            (
                f"CREATE OR REPLACE TRIGGER keep_from_delete BEFORE DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION annotation_keep_from_delete();",
                f"DROP TRIGGER IF EXISTS keep_from_delete ON {table};",
            )
        )
    pairs.append(
        (
            "CREATE OR REPLACE TRIGGER check_quote BEFORE INSERT ON annotation_spancritique "
            "FOR EACH ROW WHEN (NEW.part = 'text') EXECUTE FUNCTION annotation_check_quote();",
            "DROP TRIGGER IF EXISTS check_quote ON annotation_spancritique;",
        )
    )
    return pairs


class Migration(migrations.Migration):
    dependencies = [("annotation", "0001_initial")]

    operations = [
        migrations.RunSQL(
            sql=[FUNCTIONS, *(make for make, _ in triggers())],
            reverse_sql=[
                *(drop for _, drop in triggers()),
                "DROP FUNCTION IF EXISTS annotation_keep_record();"
                "DROP FUNCTION IF EXISTS annotation_keep_from_delete();"
                "DROP FUNCTION IF EXISTS annotation_check_quote();",
            ],
        )
    ]
