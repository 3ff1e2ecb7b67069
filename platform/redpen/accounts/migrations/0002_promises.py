"""What the accounts promise, kept by the database.

- The audit trail is appended to. Nothing changes a line; lines go only with their whole project, inside
  `annotation.erasure.erasing()` (the setting redpen.erasing is on). TRUNCATE is left to the owner of the tables: he could
  drop the trigger as well, and a restore needs it.
- A project that has an admin keeps one. The check waits for the commit and then holds the project's row, so that two
  admins who demote each other at the same moment cannot both succeed.

May run twice.
"""

from django.db import migrations

FORWARDS = """
CREATE OR REPLACE FUNCTION accounts_keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.project_id IS NOT NULL AND current_setting('redpen.erasing', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'The audit trail is only appended to: line % stays as it is.', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'audit_only_appended', TABLE = TG_TABLE_NAME;
END $$;

CREATE OR REPLACE TRIGGER keep_audit BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION accounts_keep_audit();

CREATE OR REPLACE FUNCTION accounts_keep_an_admin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- no row: the project itself was deleted
    PERFORM 1 FROM accounts_project WHERE id = OLD.project_id FOR NO KEY UPDATE;
    IF FOUND AND NOT EXISTS (
        SELECT 1 FROM accounts_membership WHERE project_id = OLD.project_id AND role = 'admin'
    ) THEN
        RAISE EXCEPTION 'Project % would have no admin.', OLD.project_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'project_keeps_an_admin', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS keep_an_admin ON accounts_membership;
CREATE CONSTRAINT TRIGGER keep_an_admin AFTER UPDATE OR DELETE ON accounts_membership
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.role = 'admin')
    EXECUTE FUNCTION accounts_keep_an_admin();
"""
BACKWARDS = """
DROP TRIGGER IF EXISTS keep_an_admin ON accounts_membership;
DROP FUNCTION IF EXISTS accounts_keep_an_admin();
DROP TRIGGER IF EXISTS keep_audit ON accounts_auditevent;
DROP FUNCTION IF EXISTS accounts_keep_audit();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
