"""`manage.py up` under kill -9: what dies comes back, nothing is left, nothing that was acknowledged is lost."""

import signal
import time

import pytest

from tests.running import MARKS, running, wait_for

pytestmark = pytest.mark.slow

KILLED = ["postgres", "redis", "web", "worker-default", "worker-train", "scheduler"]


@pytest.fixture(scope="module")
def redpen():
    with running() as one:
        yield one.start_and_wait()


@pytest.mark.parametrize("service", KILLED)
def test_a_killed_service_comes_back_and_readyz_is_green_again(redpen, service):
    old = redpen.kill(service)
    wait_for(lambda: (child := redpen.child(service)) and child.pid != old, 15, redpen.output)
    wait_for(redpen.ready, 15, lambda: f"{redpen.get('/readyz')}\n{redpen.output()}")
    assert f"{service} was killed by SIGKILL" in redpen.output()


def test_a_worker_goes_on_working_after_redis_was_killed(redpen):
    """Celery's workers have been known to live on, deaf. The schedule sends something every five seconds."""
    redpen.kill("redis")
    wait_for(redpen.ready, 15)
    wait_for(lambda: "pong" in ping_workers(redpen), 30, lambda: ping_workers(redpen))
    done = tasks_done(redpen)
    wait_for(lambda: tasks_done(redpen) > done, 30)


def test_postgres_comes_back_from_a_kill_beside_a_busy_backend(redpen):
    """The backend outlives its postmaster for a moment and holds its shared memory."""
    import psycopg

    from redpen.services.addresses import embedded_database_url

    connection = psycopg.connect(embedded_database_url(redpen.data_dir), autocommit=True)
    connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
    connection.execute("INSERT INTO kept VALUES (1)")
    connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 2000000000)")
    time.sleep(0.5)
    redpen.kill("postgres")
    connection.close()
    wait_for(redpen.ready, 20, lambda: f"{redpen.get('/readyz')}\n{redpen.output()}")
    with psycopg.connect(embedded_database_url(redpen.data_dir)) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone()[0] >= 1


def test_a_service_that_dies_at_once_is_started_less_and_less_often():
    with running() as one:
        one.start_and_wait()
        for pause in ("0.25", "0.5", "1"):
            one.kill("web")
            wait_for(lambda pause=pause: f"started again in {pause} s" in one.output(), 5, one.output)
            wait_for(lambda: one.child("web"), 5, one.output)


def test_nothing_is_left_when_the_supervisor_is_killed_and_the_next_start_is_well():
    with running() as one:
        one.start_and_wait()
        one.manage(
            "shell", "-c", "from redpen.accounts.models import Project; Project.objects.create(name='A', slug='a')"
        )
        one.remember()
        assert set(MARKS) - {"model-server"} <= {service for service in MARKS if one.child(service)}
        one.process.send_signal(signal.SIGKILL)
        one.process.wait()
        wait_for(lambda: not one.left(), 15, lambda: "\n".join(one.left()))
        one.start_and_wait()
        found = one.manage("shell", "-c", "from redpen.accounts.models import Project; print(Project.objects.count())")
        assert found.split()[-1] == "1"


def test_a_stale_pid_file_that_names_a_living_process_does_not_stop_postgres():
    with running() as one:
        one.start_and_wait()
        one.stop()
        pid_file = one.data_dir / "postgres" / "postmaster.pid"
        pid_file.write_text(f"1\n{one.data_dir}/postgres\n0\n5432\n\n\n\n")
        one.start_and_wait()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_in_order_leaves_nothing_and_takes_seconds(sign):
    with running() as one:
        one.start_and_wait()
        started = time.monotonic()
        assert one.stop(sign) == 0
        assert time.monotonic() - started < 15
        assert one.left() == []
        assert "Redpen has stopped." in one.output()
        log = (one.data_dir / "log" / "postgres.log").read_text()
        assert "database system is shut down" in log.splitlines()[-1]


def test_an_impatient_second_ctrl_c_still_closes_postgres_in_order():
    with running() as one:
        one.start_and_wait()
        one.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        assert one.stop() == 0
        assert one.left() == []
        assert "database system is shut down" in (one.data_dir / "log" / "postgres.log").read_text().splitlines()[-1]


def test_ctrl_c_while_it_starts_stops_it():
    with running() as one:
        one.start()
        wait_for(lambda: "Postgres ..." in one.output(), 20)
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(60) == 0
        assert one.left() == []


def tasks_done(redpen) -> int:
    """How many tasks the worker of the queue `default` has taken since it was started."""
    from celery import Celery

    from redpen.services import addresses

    with Celery(broker=addresses.celery_broker_url(addresses.embedded_redis_url(redpen.data_dir))) as app:
        stats = app.control.inspect(timeout=3).stats() or {}
    return sum(sum(one["total"].values()) for name, one in stats.items() if name.startswith("default"))


def ping_workers(redpen) -> str:
    from celery import Celery

    from redpen.services import addresses

    with Celery(broker=addresses.celery_broker_url(addresses.embedded_redis_url(redpen.data_dir))) as app:
        answers = app.control.ping(timeout=3)
    names = sorted(name.split("@")[0] for answer in answers for name in answer)
    return "pong" if names == ["default", "train"] else str(answers)
