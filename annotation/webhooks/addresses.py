"""Where we are willing to connect to on behalf of a project: https, and public addresses only.

A URL is read once, here, and taken apart; nothing downstream parses it again. A name is resolved at each connection,
which goes to an address that was looked at (sending.PinnedBackend): nothing resolves it a second time.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

import idna
from django.conf import settings

from annotation.errors import BadValue

Address = IPv4Address | IPv6Address
LONGEST = 500
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all that is routed of IPv6
# Not private by name, and yet ways into somebody's network, or nobody's; what older Pythons miss as well.
REFUSED = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' own
        "169.254.0.0/16",  # link-local, and the clouds' metadata
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # Teredo and other tunnels, ORCHID
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",
        "2001:db8::/32",
    )
]


@dataclass(frozen=True)
class Target:
    """A URL, taken apart. `host` is ASCII and lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def read_url(text: str) -> Target:
    """The receiver's address, normalised; BadValue says what is wrong with it."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        raise refused(f"An address has 1 to {LONGEST} characters.")
    if not text.isprintable() or any(one in text for one in ' \\"<>^`{|}'):
        raise refused("The address holds a character that no address can hold. Write it percent-encoded.")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = (parts.hostname or "").removesuffix(".")
    except ValueError:
        raise refused("This is not an address. It looks like https://hooks.example.com/redpen.") from None
    scheme = parts.scheme.lower()
    if scheme not in ("https", "http") or not host:
        raise refused("This is not an address. It looks like https://hooks.example.com/redpen.")
    if "@" in parts.netloc:
        raise refused("An address with a user or a password in it is not taken: the signature says who we are.")
    if parts.fragment:
        raise refused("An address with a # is not taken: that part is never sent.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise refused("The path holds characters outside ASCII. Write them percent-encoded.")
    target = Target(scheme, ascii_host(host), port or {"https": 443, "http": 80}[scheme], path)
    if port == 0 or len(str(target)) > LONGEST:
        raise refused("This is not an address that can be called.")
    check_literal(target)
    return target


def refused(message: str) -> BadValue:
    return BadValue("/url", message, code="webhook.url")


def ascii_host(host: str) -> str:
    """The host as it goes to the name server: IDNA, with full-width digits and dots made plain."""
    if ":" in host:
        try:
            return str(IPv6Address(host))
        except ValueError:
            raise refused("The IPv6 address in it cannot be read.") from None
    try:
        plain = idna.encode(host, uts46=True, transitional=False).decode() if not host.isascii() else host.lower()
    except idna.IDNAError:
        raise refused("The host's name cannot be read.") from None
    if not re.fullmatch(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", plain) or len(plain) > 253:
        raise refused("The host's name cannot be read.")
    return plain


def check_literal(target: Target) -> None:
    """What can be known before a name is resolved. The rest is refused when it is called."""
    address = literal(target.host)
    known = target.host in allowed_names() or (address is not None and allowed_address(address))
    if address is None and re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)", target.host.rpartition(".")[2]) and not known:
        raise refused("A number as the host is taken only as four plain decimal parts, and must be a public address.")
    if address is not None and not (is_public(address) or known):
        raise refused("This address is not a public one. Redpen calls public addresses only.")
    if address is None and not known and (target.host == "localhost" or target.host.endswith(".localhost")):
        raise refused("This address is not a public one. Redpen calls public addresses only.")
    if target.scheme == "http" and not known:
        raise refused("Only https addresses are taken.")


def literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could reach it, through no tunnel or translation."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in GLOBAL_UNICAST:
            return False
    if not address.is_global or address.is_multicast:
        return False
    return not any(address in network for network in REFUSED if network.version == address.version)


def allowed_names() -> set[str]:
    return {entry for entry in settings.WEBHOOK_ALLOW if network_of(entry) is None}


def allowed_address(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    networks = (network_of(entry) for entry in settings.WEBHOOK_ALLOW)
    return any(network is not None and address in network for network in networks)


def network_of(entry: str) -> IPv4Network | IPv6Network | None:
    """An entry of WEBHOOK_ALLOW is a network (10.1.0.0/16, ::1) or else a host's name."""
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def may_connect(host: str, address: str) -> bool:
    """Whether `address`, to which `host` has just resolved, may be connected to."""
    found = literal(address.partition("%")[0])
    if found is None or "%" in address:  # a zone: link-local
        return False
    return is_public(found) or host in allowed_names() or allowed_address(found)
