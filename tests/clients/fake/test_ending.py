"""`redpen-client` when the process ends, is killed or forks: what was given to it is sent, or waits in the spool."""

import signal

from tests.clients.fake.making import ASKED, START, adds_up, ended, made, run
from tests.clients.fake_server import problem


def test_what_waits_is_sent_when_python_exits(server):
    ended(run(START + "for n in range(50): client.reactions.send('a-1', 'like', user=f'u-{n}')", server))
    assert len(server.stored) == 50


def test_what_waits_is_sent_when_an_exception_ends_the_process(server):
    said = ended(run(START + "client.reactions.send('a-1', 'like', user='u-1')\n1 / 0", server), code=1)
    assert "ZeroDivisionError" in said
    assert len(server.stored) == 1


def test_what_the_asynchronous_client_holds_is_sent_when_its_loop_has_ended(server):
    code = START + (
        "import asyncio\n"
        "async def main():\n"
        "    client = AsyncClient(*sys.argv[1:3], flush_interval=60)\n"
        "    await client.reactions.send('a-1', 'like', user='u-1')\n"
        "asyncio.run(main())"
    )
    ended(run(code, server))
    assert len(server.stored) == 1


def test_parent_and_forked_child_each_send_their_own_once(server):
    code = START + (
        "import os\n"
        "client.reactions.send('a-1', 'like', user='parent')\n"
        "client.flush()\n"
        "client.reactions.send('a-1', 'love', user='parent')\n"
        "if os.fork() == 0:\n"
        "    client.reactions.send('a-1', 'like', user='child')\n"
        "else:\n"
        "    os.wait()\n"
    )
    ended(run(code, server))
    sent = [(item["user"], item["kind"]) for request in server.requests for item in request["items"]]
    assert sorted(sent) == [("child", "like"), ("parent", "like"), ("parent", "love")]


def test_a_child_of_multiprocessing_sends_before_it_ends(server):
    code = START + (
        "import multiprocessing\n"
        "def work(n): client.reactions.send('a-1', 'like', user=f'u-{n}')\n"
        "children = [multiprocessing.get_context('fork').Process(target=work, args=(n,)) for n in range(3)]\n"
        "[child.start() for child in children]; [child.join() for child in children]\n"
    )
    ended(run(code, server))
    assert {item["user"] for item in server.stored.values()} == {"u-0", "u-1", "u-2"}


def test_the_client_needs_neither_torch_nor_django(server):
    ended(run(START + "assert not {'torch', 'django', 'redpen', 'annotation'} & set(sys.modules)", server))


# the spool


def test_the_spool_outlives_a_killed_process(server, tmp_path):
    server.stop()
    code = (
        "import sys, time; from redpen_client import Client\n"
        "client = Client(*sys.argv[1:3], spool_dir=sys.argv[3])\n"
        "for n in range(100): client.reactions.send('a-1', 'like', user=f'u-{n}')\n"
        "print('sent', file=sys.stderr, flush=True); time.sleep(60)"
    )
    process = run(code, server, str(tmp_path))
    assert process.stderr.readline() == "sent\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    server.start()
    with made(server, spool_dir=tmp_path) as client:
        assert client.flush(10)
        assert adds_up(client.stats)
    assert [item["user"] for item in server.stored.values()] == [f"u-{number}" for number in range(100)]
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_file_of_the_spool_stays_until_each_item_in_it_has_its_fate(server, tmp_path):
    code = (
        "import sys, time; from redpen_client import Client\n"
        "client = Client(*sys.argv[1:3], spool_dir=sys.argv[3], batch_items=10)\n"
        "for n in range(30): client.reactions.send('a-1', 'like', user=f'u-{n}')\n"
        "while client.stats.stored < 10: time.sleep(0.01)\n"
        "print('some', file=sys.stderr, flush=True); time.sleep(60)"
    )
    server.behave = lambda request: problem(503, "busy") if len(server.requests) > 1 else None
    process = run(code, server, str(tmp_path))
    while "some" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.behave = lambda request: None
    with made(server, spool_dir=tmp_path) as client:
        assert client.flush(10)
        assert (client.stats.stored, client.stats.repeated) == (20, 10)


def test_what_is_left_at_the_end_waits_in_the_spool_and_is_no_drop(server, tmp_path):
    server.stop()
    client = made(server, spool_dir=tmp_path)
    client.responses.send(ASKED, "Fünf Jahre \U0001f4a1", id="a-1")
    client.reactions.retract("e-1")
    assert not client.close(0.2)
    assert client.dropped == 0
    server.start()
    with made(server, spool_dir=tmp_path) as client:
        assert client.flush(10)
    assert server.stored["a-1"]["text"] == "Fünf Jahre \U0001f4a1"
    assert server.withdrawn == ["e-1"]


def test_with_a_spool_a_long_absence_costs_disk_and_not_memory(server, tmp_path):
    server.stop()
    with made(server, spool_dir=tmp_path, buffer_items=20, batch_items=50) as client:
        for number in range(1500):
            client.reactions.send("a-1", "like", user=f"u-{number}", text="x" * 1800)
        assert client._delivery.held_items <= 20
        assert adds_up(client.stats)
        assert client.dropped == 0
        assert len(list(tmp_path.glob("*.jsonl"))) > 2
        server.start()
        assert client.flush(30)
        assert client.stats.stored == 1500
        assert adds_up(client.stats)
    assert [item["user"] for item in server.stored.values()] == [f"u-{number}" for number in range(1500)]
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_full_spool_drops_and_counts(server, tmp_path):
    server.stop()
    with made(server, spool_dir=tmp_path, spool_bytes=5000, buffer_items=5) as client:
        for number in range(100):
            client.reactions.send("a-1", "like", user=f"u-{number}")
        assert 0 < client.dropped < 100
        assert adds_up(client.stats)
        server.start()
        assert client.flush(10)
        assert len(server.stored) + client.dropped == 100


def test_a_torn_line_at_the_end_of_a_spool_loses_only_itself(server, tmp_path):
    whole = '{"path":"reactions","id":"e-1","withdraws":false,"item":{"response":"a-1","kind":"like","id":"e-1"}}\n'
    (tmp_path / "1-old.jsonl").write_text(whole + whole[:40])
    with made(server, spool_dir=tmp_path) as client:
        assert client.flush(10)
        assert client.dropped == 1
    assert list(server.stored) == ["e-1"]


def test_two_processes_may_share_a_spool(server, tmp_path):
    server.stop()
    with made(server, spool_dir=tmp_path) as first:
        first.reactions.send("a-1", "like", user="u-1")
        with made(server, spool_dir=tmp_path, close_timeout=0.1) as second:
            second.reactions.send("a-1", "like", user="u-2")
            assert second.stats.waiting == 1
        server.start()
        assert first.flush(10)
    assert {item["user"] for item in server.stored.values()} == {"u-1"}
    with made(server, spool_dir=tmp_path) as third:
        assert third.flush(10)
    assert {item["user"] for item in server.stored.values()} == {"u-1", "u-2"}
