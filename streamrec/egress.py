"""Where captures may go: one strict parser for stream URLs, and the table of addresses not for recording."""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, quote, unquote, unquote_plus

from streamrec.errors import EgressDenied, Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str], list[str]]

MAX_URL_LENGTH: Final = 2048
RESOLVE_SECONDS: Final = 2.0

# Scheme -> the port that is meant when none is written; None: the port must be written.
SCHEMES: Final[dict[str, int | None]] = {
    "http": 80,
    "https": 443,
    "rtmp": 1935,
    "rtmps": 443,
    "rtsp": 554,
    "rtsps": 322,
    "srt": None,
    "udp": None,
}

# Services that never stream and that a request could harm or read out.
_NOT_STREAMING_PORTS: Final = frozenset(
    {7, 9, 11, 13, 17, 19, 20, 21, 22, 23, 25, 37, 53, 69, 79, 110, 111, 119, 123, 135, 137, 138, 139, 143, 161}
    | {179, 389, 445, 465, 512, 513, 514, 515, 587, 636, 873, 993, 995, 2049, 2375, 2376, 2379, 2380, 3306, 3389}
    | {5432, 5672, 5900, 6379, 6443, 9042, 9092, 9200, 9300, 10250, 11211, 27017}
)

# Own table instead of `ipaddress.is_global`, whose meaning changed between Python releases. Sources: the IANA
# special-purpose address registries (RFC 6890 and its updates).
_DENIED: Final = [
    (ipaddress.ip_network(network), rule)
    for network, rule in [
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::1/128", "loopback"),
        ("::/127", "unspecified"),
        ("64:ff9b:1::/48", "private"),
        ("100::/64", "discard-only"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    ]
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z", re.ASCII)
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z", re.ASCII)
_UNFIT = re.compile(r"[\x00- \\#\x7f]")
_EMBEDDED_USERINFO = re.compile(r"://[^/?#]*@")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password; neither shows in a repr. A passphrase of srt is a password of nobody's."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StreamUrl:
    """A stream's address taken apart: `url` is the whole without user name, password and passphrase."""

    url: str
    scheme: str
    host: str  # lower case, IDNA's A-labels, IPv6 without brackets
    port: int
    credentials: Credentials | None
    has_userinfo: bool  # "http://@host/" has an empty one: credentials that were stored are to be dropped

    @property
    def endpoint(self) -> str:
        """`host:port` as STREAMREC_EGRESS_ALLOW writes it."""
        return _endpoint(self.host, self.port)

    def is_same_server(self, other: StreamUrl) -> bool:
        """Whether credentials for `other` may be sent here too."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)


def parse(text: str) -> StreamUrl:
    """Take a stream URL apart, strictly: what two parsers could read differently is refused.

    Raises:
        Invalid: with field `url`, naming the rule.
    """
    _check_characters(text)
    match = _SCHEME.match(text)
    if match is None or match[1].lower() not in SCHEMES:
        raise _invalid(f"The URL must begin with one of {', '.join(f'{name}://' for name in SCHEMES)}.", "scheme")
    scheme, rest = match[1].lower(), text[match.end() :]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    if not tail.isascii():
        raise _invalid("Characters outside ASCII in the path must be percent-encoded.", "ascii")
    userinfo, at, hostport = authority.rpartition("@")
    host, written_port = _host_and_port(hostport)
    port = written_port if written_port is not None else SCHEMES[scheme]
    if port is None:
        raise _invalid(f"A {scheme} URL must name its port.", "port")
    shown_host = f"[{host}]" if ":" in host else host
    shown_port = "" if written_port is None else f":{written_port}"
    tail, passphrase = _without_passphrase(tail) if scheme == "srt" else (tail, None)
    if at and passphrase is not None:
        raise _invalid("An srt URL must not have both a user name and a passphrase.", "userinfo")
    url = f"{scheme}://{shown_host}{shown_port}{tail}"
    _check_rest(scheme, url)
    credentials = Credentials("", passphrase) if passphrase else _credentials(userinfo)
    return StreamUrl(url, scheme, host, port, credentials, has_userinfo=bool(at) or passphrase is not None)


def with_credentials(url: str, credentials: Credentials | None) -> str:
    """The URL with its user name and password in it, percent-encoded: for the one who connects, never to show."""
    if credentials is None:
        return url
    scheme, _, rest = url.partition("://")
    if scheme == "srt" and not credentials.username:
        return f"{url}{'&' if '?' in url else '?'}passphrase={quote(credentials.password, safe='')}"
    userinfo = f"{quote(credentials.username, safe='')}:{quote(credentials.password, safe='')}"
    return f"{scheme}://{userinfo}@{rest}"


def _invalid(detail: str, rule: str) -> Invalid:
    return Invalid(detail, field="url", rule=rule)


def _check_characters(text: str) -> None:
    if len(text) > MAX_URL_LENGTH:
        raise _invalid(f"The URL must have at most {MAX_URL_LENGTH} characters.", "length")
    is_plain = text.isascii() and _UNFIT.search(text) is None
    if not is_plain and any(c <= " " or c in "\\#\x7f" or unicodedata.category(c)[0] in "CZ" for c in text):
        raise _invalid(
            "The URL must not contain spaces, control characters, backslashes or '#'; percent-encode them.",
            "characters",
        )


def _check_rest(scheme: str, url: str) -> None:
    """Rules that need the whole URL, now without its own user name and password."""
    if len(url) > MAX_URL_LENGTH:
        raise _invalid(f"The URL must have at most {MAX_URL_LENGTH} characters.", "length")
    if _EMBEDDED_USERINFO.search(url):
        raise _invalid("The URL must not carry another address with a user name in it.", "embedded")
    mode = parse_qs(url.partition("?")[2]).get("mode", ["caller"])
    if scheme == "srt" and mode != ["caller"]:
        raise _invalid("An srt URL must use mode=caller: the recorder never listens.", "mode")


def _without_passphrase(tail: str) -> tuple[str, str | None]:
    """Path and query without the passphrase, and that: "" for an empty one, None if there is none."""
    path, _, query = tail.partition("?")
    fields = [each.partition("=") for each in query.split("&")]
    secrets = [value for name, _, value in fields if name == "passphrase"]
    if len(secrets) > 1:
        raise _invalid("An srt URL must have one passphrase at most.", "passphrase")
    if not secrets:
        return tail, None
    others = "&".join("".join(each) for each in fields if each[0] != "passphrase")
    return path + "?" * bool(others) + others, _decoded(unquote_plus, secrets[0])


def _decoded(decode: Callable[..., str], written: str) -> str:
    try:
        decoded = decode(written, errors="strict")
    except UnicodeDecodeError:
        raise _invalid("The user name and password must be percent-encoded UTF-8.", "userinfo") from None
    if any(unicodedata.category(c)[0] == "C" for c in decoded):
        raise _invalid("The user name and password must not contain control characters.", "userinfo")
    return decoded


def _credentials(userinfo: str) -> Credentials | None:
    if userinfo in {"", ":"}:
        return None
    if "@" in userinfo:
        raise _invalid("An '@' in the user name or password must be percent-encoded.", "userinfo")
    username, _, password = userinfo.partition(":")
    return Credentials(_decoded(unquote, username), _decoded(unquote, password))


def _host_and_port(hostport: str) -> tuple[str, int | None]:
    if hostport.startswith("["):
        literal, bracket, rest = hostport[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _invalid("An IPv6 address must stand in brackets.", "host")
        return _ipv6(literal), _port(rest[1:]) if rest else None
    host, colon, port = hostport.partition(":")
    return _host_name(host), _port(port) if colon else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise _invalid("The port must be a number from 1 to 65535.", "port")
    return int(text)


def _ipv6(literal: str) -> str:
    try:
        if "%" in literal:
            raise ValueError("zone")
        return str(ipaddress.IPv6Address(literal))
    except ValueError:
        raise _invalid("The address in brackets is not an IPv6 address.", "host") from None


def _host_name(text: str) -> str:
    """The host in lower case and ASCII (RFC 5890), refused if Unicode would read it as another one."""
    lowered = text.lower()
    if unicodedata.normalize("NFKC", lowered) != lowered:
        raise _invalid("The host contains characters that stand for others.", "host")
    try:
        host = lowered.encode("idna").decode() if not lowered.isascii() else lowered
    except UnicodeError:
        raise _invalid("The host is not a valid international domain name.", "host") from None
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise _invalid("The URL must name a host: letters, digits, '-' and '.'.", "host")
    if _NUMERIC_LABEL.match(labels[-1]) and _ipv4(labels) is None:
        raise _invalid("The host looks like an IPv4 address but is none.", "host")
    return ".".join(labels)


def _ipv4(labels: list[str]) -> ipaddress.IPv4Address | None:
    """The address that the resolver's inet_aton(3) reads: one to four parts, decimal, octal or hexadecimal."""
    try:
        parts = [_number(label) for label in labels]
    except ValueError:
        return None
    *heads, last = parts
    if len(heads) > 3 or any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        return None
    return ipaddress.IPv4Address(sum(head << (24 - 8 * i) for i, head in enumerate(heads)) + last)


def _number(label: str) -> int:
    if len(label) > 16:
        raise ValueError(label)
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") and len(label) > 1 else 10)


def denied_as(address: Address) -> str | None:
    """The word for why an address is not for recording, or None for an ordinary public one.

    IPv4 inside IPv6 counts as the IPv4 address: mapped and compatible (RFC 4291), NAT64 (RFC 6052) and 6to4
    (RFC 3056).
    """
    inner = _embedded_ipv4(address)
    if inner is not None:
        return denied_as(inner)
    return next((rule for net, rule in _DENIED if address.version == net.version and address in net), None)


def _embedded_ipv4(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    number, low = int(address), int(address) & 0xFFFF_FFFF
    if number >> 32 in {0xFFFF, 0x0064_FF9B << 64, 0xFFFF_0000} or (number >> 32 == 0 and low > 1):
        return ipaddress.IPv4Address(low)
    return address.sixtofour


def check(url: str, allow: Iterable[str] = (), resolve: Resolver | None = None) -> tuple[Address, ...]:
    """Refuse a URL whose host is, or resolves to, an address that is not for recording.

    `allow` holds exact `host:port` pairs that are let through (STREAMREC_EGRESS_ALLOW). A name that does not
    resolve is accepted: a station may be down, and the check is made again before every attempt. Blocks for at
    most RESOLVE_SECONDS, so call it from a thread.

    Returns: the addresses that were checked; none if `allow` names the URL or the name does not resolve.
    Raises:
        Invalid: the URL does not parse.
        EgressDenied: the address or the port is not for recording; `rule` says why.
    """
    parsed = parse(url)
    if parsed.endpoint in {entry.lower() for entry in allow}:
        return ()
    _check_port(parsed.endpoint, parsed.port)
    address = literal(parsed.host)
    found = [str(address)] if address else (resolve or resolve_bounded)(parsed.host)
    return check_addresses(parsed.host, parsed.port, found)


def check_addresses(
    host: str, port: int, found: Iterable[str], allow: frozenset[str] = frozenset()
) -> tuple[Address, ...]:
    """Refuse a host one of whose addresses `found` is not for recording; `allow` holds endpoints in lower case.

    Raises EgressDenied.
    """
    endpoint = _endpoint(host, port)
    addresses = tuple(ipaddress.ip_address(text.partition("%")[0]) for text in found)
    if endpoint in allow:
        return addresses
    _check_port(endpoint, port)
    for address in addresses:
        rule = denied_as(address)
        if rule is not None:
            verb = "is" if literal(host) else "resolves to"
            raise _denied(endpoint, f"its host {verb} a {rule} address", rule)
    return addresses


def _check_port(endpoint: str, port: int) -> None:
    if port in _NOT_STREAMING_PORTS:
        raise _denied(endpoint, f"port {port} belongs to a service that does not stream", "port")


def _denied(endpoint: str, because: str, rule: str) -> EgressDenied:
    return EgressDenied(
        f"The URL may not be captured: {because}. STREAMREC_EGRESS_ALLOW={endpoint} would allow it.",
        field="url",
        rule=rule,
    )


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def literal(host: str) -> Address | None:
    """The address that `host` (as in StreamUrl) spells, or None if it is a name."""
    if ":" in host:
        return ipaddress.IPv6Address(host)
    labels = host.split(".")
    return _ipv4(labels) if _NUMERIC_LABEL.match(labels[-1]) else None


_lookups = threading.BoundedSemaphore(32)  # look-ups that hang must not pile up threads without end


def resolve_bounded(host: str) -> list[str]:
    """All addresses of a name by the system's resolver; empty if there is none or none came in time."""
    if not _lookups.acquire(timeout=RESOLVE_SECONDS):
        return []
    answers: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put([str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)])
        except (OSError, UnicodeError):
            answers.put([])
        finally:
            _lookups.release()

    threading.Thread(target=look_up, name="egress-resolve", daemon=True).start()
    try:
        return answers.get(timeout=RESOLVE_SECONDS)
    except queue.Empty:
        return []


def resolve_all(hosts: Iterable[str], seconds: float) -> dict[str, list[str]]:
    """The addresses of many names at once; a name that did not answer within `seconds` in all has none."""
    pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="egress-resolve")
    try:
        lookups = {host: pool.submit(resolve_bounded, host) for host in hosts}
        wait(lookups.values(), timeout=seconds)
        return {host: lookup.result() if lookup.done() else [] for host, lookup in lookups.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
