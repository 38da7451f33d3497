"""The URL parser and the address policy."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrec import egress
from streamrec.errors import EgressDenied, Invalid

SEED_URLS = [
    "http://rtvmurcia_01-lh.akamaihd.net/i/rtvmurcia_1_0@507973/master.m3u8",
    "http://w10.streamgb.com:1935/kool/kool/playlist.m3u8",
    "https://itv.streams.ovh/magictv/magictv/playlist.m3u8",
    "http://c2.manasat.com:1935/kmusic/kmusic3/FluxusTV.m3u8?fluxustv.m3u8",
    "http://hlsliveamdgl0-lh.akamaihd.net/i/rnerne3_1@793568/index_32_a-p.m3u8",
    "http://rs.radio.uoc.gr:8000/uoc_64.mp3",
    "http://46.4.37.132:9382/;",
]


@pytest.mark.parametrize("url", SEED_URLS)
def test_the_seeds_urls_pass_unchanged(url: str) -> None:
    assert egress.parse(url).url == url


def test_credentials_are_split_off_and_decoded() -> None:
    parsed = egress.parse("http://us%40er:p%3Ass@Host.Example:8000/live?x=1")

    assert parsed.url == "http://host.example:8000/live?x=1"
    assert parsed.credentials == egress.Credentials("us@er", "p:ss")


def test_credentials_do_not_show_in_a_repr() -> None:
    assert "s3cret" not in repr(egress.parse("http://user:s3cret@h.example/"))


def test_credentials_round_trip_into_the_url_again() -> None:
    parsed = egress.parse("rtsp://u%2F1:p%40ss@h.example/a")

    assert egress.with_credentials(parsed.url, parsed.credentials) == "rtsp://u%2F1:p%40ss@h.example/a"
    assert egress.with_credentials(parsed.url, None) == "rtsp://h.example/a"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("srt://h.example:9?passphrase=p%26ss+word12", "srt://h.example:9"),
        (
            "srt://h.example:9?latency=2&passphrase=p%26ss+word12&mode=caller",
            "srt://h.example:9?latency=2&mode=caller",
        ),
    ],
)
def test_a_passphrase_is_split_off_and_put_back(url: str, shown: str) -> None:
    """As ffmpeg reads it: a plus is a space."""
    parsed = egress.parse(url)
    again = egress.with_credentials(parsed.url, parsed.credentials)

    assert (parsed.url, parsed.has_userinfo) == (shown, True)
    assert parsed.credentials == egress.Credentials("", "p&ss word12")
    assert "passphrase=p%26ss%20word12" in again
    assert egress.parse(again) == parsed


def test_an_empty_passphrase_means_no_credentials() -> None:
    parsed = egress.parse("srt://h.example:9?passphrase=")

    assert (parsed.credentials, parsed.has_userinfo, parsed.url) == (None, True, "srt://h.example:9")


def test_an_empty_userinfo_means_no_credentials() -> None:
    parsed = egress.parse("udp://@8.8.8.8:1234")

    assert (parsed.credentials, parsed.has_userinfo, parsed.url) == (None, True, "udp://8.8.8.8:1234")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("file:///etc/passwd", "scheme"),
        ("-f", "scheme"),
        ("concat:a|b", "scheme"),
        ("gopher://h.example/", "scheme"),
        ("//h.example/", "scheme"),
        ("", "scheme"),
        ("http://h.example/" + "a" * 2040, "length"),
        ("http://h.example/a b", "characters"),
        ("http://h.example/a\n", "characters"),
        ("http://h.example/\x00", "characters"),
        ("http://h.example\\@evil.example/", "characters"),
        ("http://h.example/#x", "characters"),
        ("http://h.example/\u202e", "characters"),
        ("http://h.example/\ud800", "characters"),
        ("http://h.example/ü", "ascii"),
        ("http:///x", "host"),
        ("http://user@/x", "host"),
        ("http://h..example/", "host"),
        ("http://-h.example/", "host"),
        ("http://h%2eexample/", "host"),
        ("http://①.example/", "host"),
        ("http://" + "ü" * 80 + ".example/", "host"),
        ("http://" + "a" * 64 + ".example/", "host"),
        ("http://" + "a." * 130 + "example/", "host"),
        ("http://999.1.1.1/", "host"),
        ("http://1.2.3.4.5/", "host"),
        ("http://host.09/", "host"),
        ("http://0x" + "f" * 20 + "/", "host"),
        ("http://[::1/", "host"),
        ("http://[::1]x/", "host"),
        ("http://[fe80::1%25eth0]/", "host"),
        ("http://[1.2.3.4]/", "host"),
        ("http://h.example:0/", "port"),
        ("http://h.example:65536/", "port"),
        ("http://h.example:/", "port"),
        ("http://h.example:٣/", "port"),
        ("http://h.example:80:80/", "port"),
        ("srt://h.example", "port"),
        ("udp://h.example", "port"),
        ("srt://h.example:9000?mode=listener", "mode"),
        ("srt://h.example:9000?passphrase=a&passphrase=b", "passphrase"),
        ("srt://user@h.example:9000?passphrase=a", "userinfo"),
        ("srt://h.example:9000?passphrase=%0a", "userinfo"),
        ("http://h.example/?u=rtsp://a:b@c/", "embedded"),
        ("http://%ff@h.example/", "userinfo"),
        ("http://a%0d%0ab@h.example/", "userinfo"),
        ("http://a@b@h.example/", "userinfo"),
    ],
)
def test_what_could_be_misread_is_refused(url: str, rule: str) -> None:
    with pytest.raises(Invalid) as refused:
        egress.parse(url)

    assert refused.value.context == {"field": "url", "rule": rule}


def test_an_international_host_becomes_ascii() -> None:
    assert egress.parse("http://müller.example/").url == "http://xn--mller-kva.example/"


def test_the_default_port_follows_the_scheme() -> None:
    assert egress.parse("rtmp://h.example/app").endpoint == "h.example:1935"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0X7F000001",
        "2130706433",
        "0177.0.0.1",
        "0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:0:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
    ],
)
def test_a_literal_special_address_is_denied(host: str) -> None:
    with pytest.raises(EgressDenied):
        egress.check(f"http://{host}:8000/")


@pytest.mark.parametrize(
    "host", ["46.4.37.132", "8.8.8.8", "[2a00:1450::1]", "[::ffff:8.8.8.8]", "[64:ff9b::808:808]"]
)
def test_a_public_address_passes(host: str) -> None:
    assert len(egress.check(f"http://{host}:9382/;")) == 1


def test_any_denied_answer_of_the_resolver_denies() -> None:
    with pytest.raises(EgressDenied) as denied:
        egress.check("http://h.example/", resolve=lambda host: ["8.8.8.8", "10.0.0.1"])

    assert denied.value.context == {"field": "url", "rule": "private"}
    assert "10.0.0.1" not in denied.value.detail


def test_the_text_of_a_denial_holds_no_credentials() -> None:
    with pytest.raises(EgressDenied) as denied:
        egress.check("http://user:s3cret@127.0.0.1/")

    assert "s3cret" not in denied.value.detail


def test_a_name_that_does_not_resolve_is_accepted() -> None:
    assert egress.check("http://nowhere.invalid/", resolve=lambda host: []) == ()


def test_a_scoped_answer_of_the_resolver_is_understood() -> None:
    with pytest.raises(EgressDenied):
        egress.check("http://h.example/", resolve=lambda host: ["fe80::1%eth0"])


def test_the_systems_resolver_is_asked_by_default() -> None:
    with pytest.raises(EgressDenied):
        egress.check("http://localhost:8000/")


def test_a_host_that_cannot_be_looked_up_has_no_addresses() -> None:
    assert egress.resolve_bounded("a" * 70) == []


def test_only_the_exact_host_and_port_are_allowed() -> None:
    assert egress.check("http://127.0.0.1:18081/a", ["127.0.0.1:18081"]) == ()
    with pytest.raises(EgressDenied):
        egress.check("http://127.0.0.1:18082/a", ["127.0.0.1:18081"])


def test_an_ipv6_endpoint_is_allowed_in_brackets() -> None:
    assert egress.check("http://[0::1]:8000/", ["[::1]:8000"]) == ()


def test_ports_of_services_that_never_stream_are_denied() -> None:
    with pytest.raises(EgressDenied) as denied:
        egress.check("http://8.8.8.8:5432/")

    assert denied.value.context["rule"] == "port"


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_by_name(text: str) -> None:
    try:
        url = egress.parse("http://" + text).url
    except Invalid:
        return

    assert egress.parse(url).url == url


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_like_itself(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | number)
    nat64 = ipaddress.IPv6Address((0x0064FF9B << 96) | number)
    sixtofour = ipaddress.IPv6Address((0x2002 << 112) | (number << 80))

    assert {egress.denied_as(a) for a in (mapped, nat64, sixtofour)} == {egress.denied_as(address)}


@given(st.ip_addresses(v=4))
def test_every_spelling_of_an_address_is_judged_alike(address: ipaddress.IPv4Address) -> None:
    a, b, c, d = address.packed
    spellings = [
        str(address),
        str(int(address)),
        hex(int(address)),
        f"0{a:o}.{b}.{c * 256 + d}",
        f"{a}.0x{b:x}.{c}.{d}",
    ]

    verdicts = set()
    for spelling in spellings:
        try:
            verdicts.add(egress.check(f"http://{spelling}/"))
        except EgressDenied as denied:
            verdicts.add((str(denied.context["rule"]),))

    assert len(verdicts) == 1
