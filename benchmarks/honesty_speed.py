"""How long judging takes with a million reactions in the database: all users, then those who came since.

python -m benchmarks.honesty_speed [--reactions 100000]       the last line is one JSON object
"""

from __future__ import annotations

import argparse
import os
import resource
import time

from benchmarks.harness import finish, percentile, say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reactions", type=int, default=1_000_000)
    given = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection

    from annotation.actions import counting, judging
    from annotation.actions.campaigns import furnish
    from annotation.models import Exposure, ProductUser, Reaction
    from benchmarks import live_data
    from redpen.accounts.models import Project
    from tests.servers import PostgresForTests

    postgres = PostgresForTests(settings.DATA_DIR)
    try:
        postgres.migrate()
        project = Project.objects.create(name="Bench", slug="bench")
        furnish(project=project, actor=None)
        live_data.fill(connection, project.pk, reactions=given.reactions, tell=say)
        count_all(counting, connection)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
        started = time.perf_counter()
        everybody = judging.judge_due(most=10_000)
        whole = time.perf_counter() - started
        say(f"{everybody.judged:,} users judged in {whole:.1f} s")
        rounds = []
        for some in range(10):  # what three minutes bring at a hundred reactions a minute, by 60 users
            with connection.cursor() as cursor:
                cursor.execute(MORE, {"project": project.pk, "offset": some * 60})
            count_all(counting, connection)
            started = time.perf_counter()
            done = judging.judge_due()
            rounds.append(time.perf_counter() - started)
            say(f"{done.judged} users in {rounds[-1]:.2f} s")
        finish(
            reactions=Reaction.objects.count(),
            exposures=Exposure.objects.count(),
            users=ProductUser.objects.count(),
            left_out=ProductUser.objects.filter(left_out=True).count(),
            everybody_s=round(whole, 1),
            users_a_second=round(everybody.judged / whole),
            who_came_p50_s=round(percentile(rounds, 0.5), 2),
            who_came_most_s=round(max(rounds), 2),
            memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        )
    finally:
        connection.close()
        postgres.stop()


# 60 users each react to 5 more of what they have seen
MORE = """
    INSERT INTO annotation_reaction (id, lineage, version, project_id, test, origin, agent, kind_id, response_id,
        response_external_id, external_user, event_at, retracts, text, metadata, prefill_outcome, end_reason)
    SELECT x.id, x.id, 1, %(project)s, false, 'human', 'key:bench', k.id, x.response_id, '', u.name, now(), false, '',
        '{}', '', ''
    FROM (SELECT name FROM annotation_productuser WHERE project_id = %(project)s ORDER BY name
        OFFSET %(offset)s LIMIT 60) u
    CROSS JOIN LATERAL (SELECT uuidv7() AS id, x.response_id FROM annotation_exposure x
        WHERE x.project_id = %(project)s AND x.external_user = u.name LIMIT 5) x
    JOIN annotation_reactionkind k ON k.project_id = %(project)s AND k.key = 'copy'
"""


def count_all(counting, connection) -> None:
    while True:
        counting.count()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM annotation_reaction "
                "WHERE xact >= (SELECT done FROM annotation_countingcursor))"
            )
            if not cursor.fetchone()[0]:
                return


if __name__ == "__main__":
    main()
