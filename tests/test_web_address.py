"""The three forms of a web address: as named, as sent, as shown."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import TargetError, UsageError
from hashscan.web_address import is_in, is_private_host, is_public_address, parse, split_url


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        (b"http://h", "/"),
        (b"http://h/", "/"),
        (b"http://h/a//b", "/a//b"),
        (b"http://h//lead.jpg", "//lead.jpg"),
        (b"http://h/x/../y", "/x/../y"),
        (b"http://h/./z", "/./z"),
        (b"http://h/a b\n\x01\xff", "/a%20b%0A%01%FF"),
        (b"http://h/a%20b", "/a%20b"),
        (b"http://h/a%2fb", "/a%2fb"),
        (b"http://h/50%", "/50%25"),
        (b"http://h/%zz%41", "/%25zz%41"),
        (b"http://h/a#part", "/a"),
        (b"http://h/a?x=%2b&y=a b#part", "/a?x=%2b&y=a%20b"),
        (b"http://h?x", "/?x"),
        (b"http://h/a?", "/a?"),
        (b"http://h/a?b?c", "/a?b?c"),
        (b"http://h//[::1]:x@y", "//%5B::1%5D:x@y"),
    ],
)
def test_what_is_sent(url: bytes, sent: str) -> None:
    assert parse(url).request_target == sent


@pytest.mark.parametrize(
    ("url", "origin", "port"),
    [
        (b"HTTP://Host.Example/X", b"http://host.example", 80),
        (b"https://h:443/x", b"https://h", 443),
        (b"http://h:443/x", b"http://h:443", 443),
        (b"http://[::1]:81/x", b"http://[::1]:81", 81),
        (b"http://h:/x", b"http://h", 80),
    ],
)
def test_origin(url: bytes, origin: bytes, port: int) -> None:
    address = parse(url)
    assert (address.origin, address.port) == (origin, port)
    assert parse(address.origin).origin == origin


def test_a_query_is_not_shown_but_distinguished() -> None:
    one, two = parse(b"https://h/a.jpg?sig=Secret1"), parse(b"https://h/a.jpg?sig=Secret2")
    assert one.shown.startswith("https://h/a.jpg?…".encode())
    assert b"Secret" not in one.shown
    assert one.shown != two.shown
    assert one.shown == parse(b"https://h/a.jpg?sig=Secret1#x").shown
    assert parse(b"https://h/a%3Fb").shown == b"https://h/a%3Fb"


@pytest.mark.parametrize(
    "url", [b"https://user:Secret1@h/x", b"https://Secret1@h", b"http://a@b:Secret1@h/", b"http://Secret1@/x"]
)
def test_a_password_is_refused_and_not_repeated(url: bytes) -> None:
    with pytest.raises(UsageError, match="password") as caught:
        parse(url)
    assert "Secret1" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize(
    "url",
    [
        b"http://",
        b"http:///x",
        b"http:h",
        b"ftp://h/x",
        b"file:///etc/passwd",
        b"http://h:0/",
        b"http://h:65536/",
        b"http://h\\x/",
        b"http://h\n/",
        b"http://\xc3\xbc/",
        b"http://\xff/",
        b"http://[::1/x",
        b"http://[1]/x",
        b"http://h:x/",
        b"",
    ],
)
def test_what_is_no_address(url: bytes) -> None:
    with pytest.raises(TargetError):
        parse(url)


@given(st.binary(max_size=30), st.one_of(st.none(), st.binary(max_size=20)))
def test_any_bytes_can_be_sent(path: bytes, query: bytes | None) -> None:
    path = path.replace(b"?", b"").replace(b"#", b"")
    query = None if query is None else query.replace(b"#", b"")
    address = parse(b"http://h/" + path + (b"" if query is None else b"?" + query))
    sent = address.request_target
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent
    assert ("?" in sent) == (query is not None)
    # What is sent names the same once more.
    assert parse(b"http://h" + sent.encode()).request_target == sent
    assert address.name.startswith(path)


def test_endpoints() -> None:
    assert parse(b"https://Host.Example/a").endpoint == ("https", "host.example", 443)
    assert parse(b"http://host:8080/a").endpoint == ("http", "host", 8080)
    assert parse(b"http://[::1]/a").endpoint == ("http", "::1", 80)


@given(st.binary(max_size=40), st.sampled_from([b"", b"http://", b"https://h", b"file://"]))
def test_parts_are_the_url(text: bytes, begin: bytes) -> None:
    try:
        parts = split_url(begin + text)
    except ValueError:
        return
    assert (begin + text).endswith(parts.path + parts.query + parts.fragment)
    assert parts.port is None or 0 <= parts.port <= 65535
    assert not {"/", "@", "?", "#"} & set(parts.host)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::7f00:1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::127.0.0.1", False),
        ("64:ff9b::169.254.169.254", False),
        ("64:ff9b::93.184.215.14", True),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2002:a9fe:a9fe::1", False),
        ("2001::1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public_address(address) == public
    assert is_private_host(f"[{address}]" if ":" in address else address) != public


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "printer.local",
        "metadata.google.internal",
        "nas.lan",
        "router.home.arpa",
        "hostname",
        "",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "1.2.3.4.5",
    ],
)
def test_names_of_private_networks(host: str) -> None:
    assert is_private_host(host)


@pytest.mark.parametrize(
    "host", ["example.org", "example.org.", "local.example", "0x7f.example", "a.b.museum"]
)
def test_other_names_may_be_public(host: str) -> None:
    assert not is_private_host(host)


def test_an_address_is_in_a_network_in_each_of_its_forms() -> None:
    own = (ip_network("10.1.0.0/16"), ip_network("2001:db8::/32"))
    assert is_in("10.1.2.3", own)
    assert is_in("::ffff:10.1.2.3", own)
    assert is_in("2001:db8::1%eth0", own)
    assert not is_in("10.2.0.1", own)
    assert not is_in("::10.1.2.3", own)
