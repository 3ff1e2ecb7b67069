"""A reaction's answer is there: looked at once for a statement, instead of by a foreign key for each row.

A foreign key locks the answer's row for each reaction to it. That was a seventh of what storing a reaction costs, and
writers that bring reactions to the same popular answers waited for each other's pages. Answers are deleted by erasing
alone, so now:

- whoever erases holds the answers of the project (an advisory lock to the end of the transaction), before any row;
- whoever stores reactions, or joins one to its answer, shares that lock, and looks that the answers are there. It never
  waits for it: while somebody erases, it locks the answers' rows, as the foreign key did;
- a dry run, which may last for minutes and is rolled back, keeps nobody from erasing (the setting redpen.trying is on);
- at the commit of who deleted answers, no reaction may point at them.

Indexes by id grow at their end now; in falling order each row was squeezed into a full first page.
"""

from __future__ import annotations

from django.db import migrations, models

HOLD = """
CREATE FUNCTION annotation_hold_answers(project uuid) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(7301, hashtext(project::text))
$$;
CREATE FUNCTION annotation_share_answers(project uuid) RETURNS bool LANGUAGE sql AS $$
    SELECT CASE WHEN current_setting('redpen.trying', true) = 'on' THEN true
        ELSE pg_try_advisory_xact_lock_shared(7301, hashtext(project::text)) END
$$;
"""
ARRIVED = """
CREATE FUNCTION annotation_answers_are_there() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lost record;
BEGIN
    IF NOT (
        SELECT coalesce(bool_and(annotation_share_answers(p.project_id)), true)
        FROM (SELECT DISTINCT project_id FROM arrived WHERE response_id IS NOT NULL) p
    ) THEN
        PERFORM FROM annotation_response r
            WHERE r.id = ANY (ARRAY(SELECT DISTINCT response_id FROM arrived WHERE response_id IS NOT NULL))
            ORDER BY r.id FOR KEY SHARE;
    END IF;
    -- A new statement, so it sees what is there after the lock. As a scalar subquery, so that it is always one look into
    -- the primary key for each row, whatever the planner thinks of.
    SELECT a.id, a.response_id INTO lost FROM arrived a
        WHERE a.response_id IS NOT NULL
        AND (SELECT r.project_id FROM annotation_response r WHERE r.id = a.response_id) IS DISTINCT FROM a.project_id
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Reaction % is to answer %, which is not in its project.', lost.id, lost.response_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'reaction_response_same_project',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
"""
JOINED = """
CREATE FUNCTION annotation_answer_is_there() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT annotation_share_answers(NEW.project_id) THEN
        PERFORM FROM annotation_response r WHERE r.id = NEW.response_id FOR KEY SHARE;
    END IF;
    IF NOT EXISTS (
        SELECT FROM annotation_response r WHERE r.id = NEW.response_id AND r.project_id = NEW.project_id
    ) THEN
        RAISE EXCEPTION 'Reaction % is to answer %, which is not in its project.', NEW.id, NEW.response_id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'reaction_response_same_project',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
"""
DELETED = """
CREATE FUNCTION annotation_no_reaction_is_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM annotation_hold_answers(OLD.project_id);
    IF EXISTS (SELECT FROM annotation_reaction e WHERE e.response_id = OLD.id) THEN
        RAISE EXCEPTION 'Answer % has reactions; delete them first.', OLD.id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'reaction_response_same_project',
            TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
"""
TRIGGERS = [
    "CREATE TRIGGER answers_are_there AFTER INSERT ON annotation_reaction REFERENCING NEW TABLE AS arrived "
    "FOR EACH STATEMENT EXECUTE FUNCTION annotation_answers_are_there();",
    "CREATE TRIGGER answer_is_there AFTER UPDATE OF response_id ON annotation_reaction FOR EACH ROW "
    "WHEN (NEW.response_id IS NOT NULL AND OLD.response_id IS DISTINCT FROM NEW.response_id) "
    "EXECUTE FUNCTION annotation_answer_is_there();",
    "CREATE CONSTRAINT TRIGGER no_reaction_is_left AFTER DELETE ON annotation_response "
    "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION annotation_no_reaction_is_left();",
]
GONE = [
    "DROP TRIGGER no_reaction_is_left ON annotation_response;",
    "DROP TRIGGER answer_is_there ON annotation_reaction;",
    "DROP TRIGGER answers_are_there ON annotation_reaction;",
    "DROP FUNCTION annotation_no_reaction_is_left();",
    "DROP FUNCTION annotation_answer_is_there();",
    "DROP FUNCTION annotation_answers_are_there();",
    "DROP FUNCTION annotation_hold_answers(uuid);",
    "DROP FUNCTION annotation_share_answers(uuid);",
]


class Migration(migrations.Migration):
    dependencies = [("annotation", "0011_intake_counts")]

    operations = [
        migrations.RemoveConstraint(
            model_name="reaction",
            name="reaction_response_same_project",
        ),
        migrations.RemoveIndex(
            model_name="reaction",
            name="reaction_newest",
        ),
        migrations.RemoveIndex(
            model_name="reaction",
            name="reaction_of_user",
        ),
        migrations.RemoveIndex(
            model_name="reaction",
            name="reaction_of_kind",
        ),
        migrations.RemoveIndex(
            model_name="reaction",
            name="reaction_test",
        ),
        migrations.RemoveIndex(
            model_name="reaction",
            name="reaction_ended",
        ),
        migrations.AddIndex(
            model_name="reaction",
            index=models.Index(fields=["project", "id"], name="reaction_newest"),
        ),
        migrations.AddIndex(
            model_name="reaction",
            index=models.Index(
                condition=models.Q(("external_user", ""), _negated=True),
                fields=["project", "external_user", "id"],
                name="reaction_of_user",
            ),
        ),
        migrations.AddIndex(
            model_name="reaction",
            index=models.Index(fields=["project", "kind", "id"], name="reaction_of_kind"),
        ),
        migrations.AddIndex(
            model_name="reaction",
            index=models.Index(condition=models.Q(("test", True)), fields=["project", "id"], name="reaction_test"),
        ),
        migrations.AddIndex(
            model_name="reaction",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False)), fields=["project", "id"], name="reaction_ended"
            ),
        ),
        migrations.RunSQL(sql=[HOLD, ARRIVED, JOINED, DELETED, *TRIGGERS], reverse_sql=GONE),
    ]
