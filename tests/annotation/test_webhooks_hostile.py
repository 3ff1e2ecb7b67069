"""Scene 7, the inward webhook: hostile names, hostile servers, and who else notices."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from annotation.actions import webhooks
from annotation.errors import BadValue
from annotation.models import Webhook, WebhookDelivery
from annotation.webhooks import pump, sending
from annotation.webhooks.addresses import is_public, may_connect, read_url
from annotation.webhooks.outbox import emit_many
from redpen.accounts.models import AuditEvent
from tests.annotation import receivers
from tests.annotation.receivers import FOREIGN, hostile, receiver

NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.5.5",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.192",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:82f::200e", "::ffff:8.8.8.8"]

REFUSED_URLS = [
    "http://hooks.example.com/",
    "ftp://hooks.example.com/",
    "https://",
    "https:///path",
    "hooks.example.com",
    "javascript:alert(1)",
    "https://user:word@hooks.example.com/",
    "https://hooks.example.com@127.0.0.1/",
    "https://hooks.example.com/#part",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:99999/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://hooks.example.com/\r\nHost: evil",
    "https://hooks.exam\tple.com/",
    "https://hooks example.com/",
    "https://-hooks.example.com/",
    "https://" + "a" * 64 + ".example.com/",
    "https://hooks.example.com/" + "a" * 500,
    "https://hooks.example.com/é",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://foo.localhost/",
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[fe80::1%25eth0]/",
    "https://[64:ff9b::7f00:1]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[not-an-address]/",
    "https://[::1",
]


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_an_address_that_leads_inwards_or_nowhere_is_refused(url):
    with pytest.raises(BadValue) as refusal:
        read_url(url)
    assert refusal.value.problems[0]["pointer"] == "/url"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://hooks.example.com", "https://hooks.example.com/"),
        (" HTTPS://Hooks.Example.COM:443/a?b=c ", "https://hooks.example.com/a?b=c"),
        ("https://hooks.example.com:8443/x", "https://hooks.example.com:8443/x"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://8.8.8.8/x", "https://8.8.8.8/x"),
        ("https://[2606:4700:4700::1111]/x", "https://[2606:4700:4700::1111]/x"),
    ],
)
def test_a_public_address_is_kept_in_one_spelling(url, kept):
    assert str(read_url(url)) == kept
    assert str(read_url(kept)) == kept


def test_http_and_inward_addresses_are_taken_where_the_operator_lists_them(settings):
    settings.WEBHOOK_ALLOW = ["10.1.0.0/16", "hooks.corp", "::1"]
    for url in ("http://10.1.2.3/x", "https://10.1.2.3/x", "http://hooks.corp/x", "https://[::1]/x"):
        assert str(read_url(url)) == url
    for url in ("http://10.2.0.1/x", "https://10.2.0.1/x", "http://other.corp/x"):
        with pytest.raises(BadValue):
            read_url(url)
    assert may_connect("hooks.corp", "192.168.0.1")
    assert may_connect("any.example", "10.1.9.9")
    assert not may_connect("any.example", "192.168.0.1")


def test_which_addresses_are_public():
    assert [one for one in NOT_PUBLIC if is_public(ipaddress.ip_address(one))] == []
    assert [one for one in PUBLIC if not is_public(ipaddress.ip_address(one))] == []


class Names:
    """A hostile name server: each look-up of a name gives its next answer. Connections are watched, and go nowhere."""

    def __init__(self, monkeypatch, answers):
        self.answers = answers
        self.asked = []
        self.connected = []
        real = socket.getaddrinfo

        def getaddrinfo(host, port, *args, **options):
            name = host.decode() if isinstance(host, bytes) else host
            if name not in self.answers:
                return real(host, port, *args, **options)
            self.asked.append(name)
            addresses = self.answers[name]
            found = addresses.pop(0) if len(addresses) > 1 else addresses[0]
            return [entry for one in found.split() for entry in real(one, port, 0, socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def connections(monkeypatch):
    """Every address that a socket of this process is asked to connect to, below all libraries."""
    seen = []

    def audit(event, args):
        if event == "socket.connect" and watching and isinstance(args[1], tuple):
            seen.append(args[1][0])

    watching = [True]
    sys.addaudithook(audit)
    yield seen
    watching.clear()


def post(url, *, seconds=sending.SECONDS):
    async def one():
        async with sending.new_pool() as pool:
            secret = "whsec_" + "A" * 44
            return await sending.post(pool, sending.Message("msg_1", read_url(url), b"{}", (secret,)))

    started = time.monotonic()
    outcome = asyncio.run(one())
    assert time.monotonic() - started < seconds + 1
    return outcome


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_that_leads_inwards_is_never_connected_to(address, monkeypatch, connections):
    Names(monkeypatch, {"evil.example": [address]})
    outcome = post("https://evil.example/")
    assert outcome.error == "The name leads to an address that is not public; such addresses are not called."
    assert connections == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"])
def test_a_number_that_slipped_through_is_stopped_when_it_is_called(host, connections):
    async def one():
        await sending.PinnedBackend().connect_tcp(host, 443)

    with pytest.raises(sending.Refused):
        asyncio.run(one())
    assert connections == []


def test_a_name_with_one_inward_address_among_public_ones_is_refused(monkeypatch, connections):
    Names(monkeypatch, {"evil.example": ["8.8.8.8 127.0.0.1"]})
    assert "not public" in post("https://evil.example/").error
    assert connections == []


def test_a_name_that_changes_its_mind_is_asked_once_and_held_to_its_word(monkeypatch, connections):
    """Rebinding: public when it is looked at, inward a moment later."""
    names = Names(monkeypatch, {"evil.example": ["203.0.113.7", "127.0.0.1"]})
    monkeypatch.setattr("annotation.webhooks.addresses.is_public", lambda address: str(address) == "203.0.113.7")
    monkeypatch.setattr(sending, "CONNECT_SECONDS", 0.3)
    outcome = post("https://evil.example/")
    assert outcome.error
    assert names.asked == ["evil.example"]
    assert set(connections) <= {"203.0.113.7"}
    assert "not public" in post("https://evil.example/").error  # and the second time it is looked at again
    assert "127.0.0.1" not in connections


def test_the_watch_would_see_an_inward_connection(settings, connections):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    with receiver() as there:
        assert post(there.url).status == 204
    assert connections == ["127.0.0.1"]


def test_a_redirect_is_not_followed(settings, connections):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    with receiver() as there, receiver() as inside:
        for status in (301, 302, 303, 307, 308):
            there.status, there.headers = status, {"Location": inside.url}
            outcome = post(there.url)
            assert outcome.status == status
            assert "redirects are not followed" in outcome.error
        assert inside.got == []


@pytest.mark.parametrize(
    ("behave", "words", "seconds"),
    [
        (receivers.endless_body, "", 2),
        (receivers.huge_length, "It answered 500.", 2),
        (receivers.late_body, "", 2),
        (receivers.endless_headers, "The connection broke, or the answer was not HTTP.", 5),
        (receivers.nonsense, "The connection broke, or the answer was not HTTP.", 2),
        (receivers.hangs_up, "The connection broke, or the answer was not HTTP.", 2),
        (receivers.one_byte_a_second, "There was no whole answer within 3 seconds.", 3),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hostile_server_costs_seconds_and_no_memory(behave, words, seconds, settings, monkeypatch):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    monkeypatch.setattr(sending, "SECONDS", 3.0)
    with hostile(behave) as url:
        assert post(url, seconds=seconds).error == words


def test_a_certificate_of_somebody_else_is_not_accepted(settings, tmp_path):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=evil.example"]
        + ["-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("needs openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    listening = socket.create_server(("127.0.0.1", 0))
    read = []

    def serve():
        connection, _ = listening.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                read.append(wrapped.recv(1000))
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    outcome = post(f"https://127.0.0.1:{listening.getsockname()[1]}/")
    listening.close()
    assert outcome.error == "Its certificate, or its TLS, was not accepted."
    assert b"POST" not in b"".join(read)


def test_a_proxy_of_the_environment_is_not_asked(settings, monkeypatch):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    with receiver() as there, receiver() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert post(there.url).status == 204
        assert (len(there.got), len(proxy.got)) == (1, 0)


def test_slow_receivers_do_not_hold_up_the_others(cast, settings, caplog):
    """A dozen dawdlers with their hands full, and one that answers at once."""
    settings.WEBHOOK_ALLOW = ["127.0.0.0/8"]
    caplog.set_level("DEBUG")
    behaviours = [receivers.one_byte_a_second, receivers.late_body, receivers.endless_body, receivers.huge_length]

    def listen(url, event):
        return webhooks.create_webhook(user=cast.dev, project=cast.project, url=url, events=[event])

    with contextlib.ExitStack() as servers:
        urls = [servers.enter_context(hostile(behave)) for behave in behaviours]
        good = servers.enter_context(receiver())
        slow = [listen(url, "run.failed") for url in urls * 3]
        fast = listen(good.url, "run.succeeded")
        items = [(f"run-{number}", {"id": number}) for number in range(500)]
        emit_many(project_id=cast.project.pk, event="run.failed", items=items)
        assert WebhookDelivery.objects.filter(webhook__in=slow).count() == 60
        told = {}

        # new events fall due while the pump has its hands full: written between two of its claims
        real, begun = pump.claim, time.monotonic()

        def claim(room):
            number = len(told)
            if number < 8 and time.monotonic() - begun > 0.3 * (number + 1):
                key = f"late-{number}"
                emit_many(project_id=cast.project.pk, event="run.succeeded", items=[(key, {"id": key})])
                told[key] = time.monotonic()
            return real(room)

        pump.claim = claim
        try:
            pump.turn(seconds=4)
        finally:
            pump.claim = real
        arrived = {f"late-{number}": got.at for number, got in enumerate(good.got)}
    assert len(told) == 8
    assert len(arrived) == 8
    delays = [arrived[key] - told[key] for key in told]
    assert max(delays) < 1, delays
    fast.refresh_from_db()
    assert fast.failures == 0
    assert FOREIGN not in caplog.text
    for row in [*WebhookDelivery.objects.values(), *Webhook.objects.values(), *AuditEvent.objects.values()]:
        assert FOREIGN not in str(row)


def test_the_library_below_logs_nothing_foreign_even_at_debug():
    from redpen.settings import LOGGING

    assert LOGGING["loggers"]["httpcore"]["level"] == "WARNING"


def test_a_name_server_that_takes_its_time_costs_no_more_than_ours(monkeypatch, connections):
    real = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        if host == "slow.example":
            time.sleep(3)
            return real("127.0.0.1", *args, **options)
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(sending, "SECONDS", 0.5)
    ended, done = threading.Event(), []

    def note(what, outcome):
        done.append(outcome)
        ended.set()

    begun = time.monotonic()
    with sending.Sender(note) as sender:
        sender.send("a", sending.Message("msg_1", read_url("https://slow.example/"), b"{}", ("whsec_" + "A" * 44,)))
        assert ended.wait(2)
    assert time.monotonic() - begun < 2
    assert done[0].error == "There was no whole answer within 0.5 seconds."
    assert connections == []
