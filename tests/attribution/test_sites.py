"""Tests of attribution.sites."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.attribution.sites import FOUND_MAX, Sites, site_rules
from hashscan.errors import UsageError
from hashscan.model import SiteRule

RULES = [
    SiteRule("1", "https://{customer}.example/", "/var/www/{customer}/htdocs"),
    SiteRule("2", "https://cdn.example/u/", "s3://uploads/in"),
    SiteRule("3", "https://{domain}/", "/vhosts/{domain}/httpdocs/"),
    SiteRule("4", "http://example.org:8443/~{user}", "/home/{user}/public_html"),
    SiteRule("5", "https://münchen.example/", "/srv/m"),
]


def sites(*rules: SiteRule) -> Sites:
    return Sites(rules or RULES)


@pytest.mark.parametrize(
    ("url", "paths"),
    [
        ("https://alice.example/a/b.jpg", [b"/var/www/alice/htdocs/a/b.jpg"]),
        ("http://alice.example", [b"/var/www/alice/htdocs"]),
        ("https://alice.example/gallery/", [b"/var/www/alice/htdocs/gallery"]),
        (" HTTP://ALICE.Example.:80/a%20b.jpg?x=1#y ", [b"/var/www/alice/htdocs/a b.jpg"]),
        ("https://alice.example/%FF%0a.jpg", [b"/var/www/alice/htdocs/\xff\n.jpg"]),
        ("https://alice.example/ü.jpg", ["/var/www/alice/htdocs/ü.jpg".encode()]),
        ("https://alice.example/a+b", [b"/var/www/alice/htdocs/a+b"]),
        ("https://alice.example/a//b/./c/../d", [b"/var/www/alice/htdocs/a/b/d"]),
        ("https://alice.example/../..\\%2e%2E/etc/passwd", [b"/var/www/alice/htdocs/etc/passwd"]),
        ("https://user:secret@alice.example/a", [b"/var/www/alice/htdocs/a"]),
        ("https://cdn.example/u//x/y.jpg", [b"s3://uploads/in//x/y.jpg"]),
        ("https://cdn.example/u/../v/y.jpg", [b"/var/www/cdn/htdocs/v/y.jpg"]),
        ("https://cdn.example/users/y.jpg", [b"/var/www/cdn/htdocs/users/y.jpg"]),
        (
            "https://www.shop.org/a",
            [b"/vhosts/www.shop.org/httpdocs/a", b"/vhosts/shop.org/httpdocs/a"],
        ),
        ("https://example.org:8443/~bob/a", [b"/home/bob/public_html/a"]),
        ("https://example.org:8443/~bob", [b"/home/bob/public_html"]),
        ("https://example.org:8443/~%2e%2e/a", []),
        ("https://example.org:8443/a", []),
        ("https://alice.example:8443/a", []),
        ("https://münchen.example/a", [b"/srv/m/a"]),
        ("https://XN--MNCHEN-3YA.example/a", [b"/srv/m/a"]),
        ("https://alice.example/a%2Fb", []),
        ("https://alice.example/a%00", []),
        ("https://alice.example/a\nb", []),
        ("https://alice..example/", []),
        ("https://a%2f.example/", []),
        ("ftp://alice.example/a", []),
        ("javascript:alert(1)", []),
        ("//alice.example/a", []),
        ("https://[::1/", []),
        ("https://alice.example:99999/", []),
        ("https://", []),
        ("", []),
        ("https://alice.example/" + "a" * 9000, []),
    ],
)
def test_an_address_is_a_file(url: str, paths: list[bytes]) -> None:
    assert list(sites().paths_of(url)) == paths


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (b"/var/www/alice/htdocs/a b/\xff?#%.jpg", "https://alice.example/a%20b/%FF%3F%23%25.jpg"),
        (b"/var/www/alice/private/a", ""),
        (b"/var/www/alice/htdocs", ""),
        (b"/var/www/evil.org%2f/htdocs/a", ""),
        (b"/var/www/a\nb/htdocs/a", ""),
        (b"s3://uploads/in//x/ y", "https://cdn.example/u//x/%20y"),
        (b"s3://uploads/in/../y", ""),
        (b"s3://uploads/out/y", ""),
        (b"/vhosts/m\xc3\xbcnchen.org/httpdocs/a", "https://xn--mnchen-3ya.org/a"),
        (b"/home/bob/public_html/a", "http://example.org:8443/~bob/a"),
        (b"/srv/m/a", "https://xn--mnchen-3ya.example/a"),
        (b"", ""),
    ],
)
def test_a_file_is_seen_at_an_address(path: bytes, url: str) -> None:
    assert sites().url_of(path) == url


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        (b"/var/www/alice/htdocs/a", True),
        (b"/var/www/alice/htdocs", False),
        (b"/var/www/alice/private/a", False),
        (b"/var/www/alice/htdocs/../private/a", False),
        (b"/var/www/../htdocs/a", False),
        (b"/var/www//htdocs/a", False),
        (b"/var/www/alice/htdocs/a\0", False),
        (b"var/www/alice/htdocs/a", False),
        (b"s3://uploads/in//x", True),
        (b"s3://uploads/other/x", False),
        (b"http://uploads/in/x", False),
        (b"", False),
    ],
)
def test_a_path_is_below_a_root_or_not(path: bytes, covered: bool) -> None:
    assert sites().covers(path) is covered


def test_a_root_that_leads_to_the_whole_disk_maps_nothing(tmp_path: Path) -> None:
    (tmp_path / "all").symlink_to("/")
    (tmp_path / "etc").symlink_to("/etc")
    rule = SiteRule("rule", "https://{name}.example/", f"{tmp_path}/{{name}}")
    assert sites(rule).paths_of("https://all.example/etc/passwd") == ()
    assert sites(rule).paths_of("https://etc.example/passwd") == (b"/etc/passwd",)


def test_what_the_address_does_not_say_is_looked_up(tmp_path: Path) -> None:
    for user in ("alice", "bob", "carol"):
        (tmp_path / user / "domains" / f"{user}.org" / "public_html").mkdir(parents=True)
    rule = SiteRule("rule", "https://{domain}/", f"{tmp_path}/{{user}}/domains/{{domain}}/public_html")
    star = SiteRule("rule", "https://{domain}/", f"{tmp_path}/*/domains/{{domain}}/public_html")
    expected = os.fsencode(tmp_path) + b"/bob/domains/bob.org/public_html/x.jpg"
    for found in (Sites([rule]), Sites([star])):
        assert found.paths_of("https://bob.org/x.jpg") == (expected,)
        assert found.paths_of("https://dave.org/x.jpg") == ()
        assert found.url_of(expected) == "https://bob.org/x.jpg"


def test_what_can_not_be_looked_up_is_not_made_up() -> None:
    rule = SiteRule("rule", "https://cdn.example/", "s3://uploads-{customer}/")
    assert Sites([rule]).paths_of("https://cdn.example/a") == ()
    assert Sites([rule]).url_of(b"s3://uploads-alice/a") == "https://cdn.example/a"


def test_no_address_has_any_number_of_files(tmp_path: Path) -> None:
    for number in range(FOUND_MAX + 1):
        (tmp_path / str(number) / "w").mkdir(parents=True)
    found = Sites([SiteRule("rule", "https://a.example/", f"{tmp_path}/*/w")])
    assert len(found.paths_of("https://a.example/x")) == FOUND_MAX


@pytest.mark.parametrize(
    ("url", "path", "message"),
    [
        ("ftp://a.example/", "/a", "no plain web address"),
        ("https://a.example/?x", "/a", "no plain web address"),
        ("https://u@a.example/", "/a", "no plain web address"),
        ("https:///", "/a", "no plain web address"),
        ("https://a.example/", "a/b", "neither whole nor"),
        ("https://a.example/", "/", "neither whole nor"),
        ("https://a.example/", "/a/../b", "no name matches"),
        ("https://{a}.example/{a}", "/{a}", "a name twice"),
        ("https://a.example/{a}-{b}", "/{a}/{b}", "two names between"),
        ("https://{a}.Example/", "/{a}", "lower case"),
        ("https://a.example/", "/{A}", "is unknown or repeated"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(url: str, path: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sites([SiteRule("site rule 3", url, path)])
    assert message in str(caught.value)
    assert str(caught.value).startswith("site rule 3")


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.binary(min_size=1, max_size=20).filter(lambda name: b"/" not in name and b"\0" not in name)
PARTS = st.lists(NAME.filter(lambda name: name not in {b".", b".."}), min_size=1, max_size=4)


@given(LABEL, PARTS)
def test_what_is_seen_at_an_address_is_found_by_it(customer: str, parts: list[bytes]) -> None:
    rest = b"/".join(parts)
    for path in (
        b"/var/www/%b/htdocs/%b" % (customer.encode(), rest),
        b"/vhosts/%b.org/httpdocs/%b" % (customer.encode(), rest),
        b"/home/%b/public_html/%b" % (customer.encode(), rest),
        b"s3://uploads/in/%b" % rest,
    ):
        url = sites().url_of(path)
        assert url.isascii()
        assert url.isprintable()
        assert sites().paths_of(url)[0] == path


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            ["https://", "alice.example", "cdn.example", "/", "..", "%2e", "%2E.", "u", "\\", "?", "%00"]
        ),
        max_size=20,
    ).map("".join)
)
def test_no_address_leads_out_of_its_folder(url: str) -> None:
    for one in (url, f"https://alice.example/{url}", f"https://cdn.example/u/{url}", f"https://{url}/x"):
        for path in sites().paths_of(one):
            assert path.startswith((b"/var/www/", b"/vhosts/", b"/home/", b"/srv/m", b"s3://uploads/in"))
            if not path.startswith(b"s3://"):
                assert os.path.normpath(path) == path


def test_rules_are_read_in_their_order() -> None:
    rows = [
        {"url": "https://{c}.example/", "path": "/w/{c}"},
        {"url": "http://b.example/", "path": "s3://b/"},
    ]
    assert site_rules(rows, "hashscan.toml") == (
        SiteRule("site rule 1", "https://{c}.example/", "/w/{c}"),
        SiteRule("site rule 2", "http://b.example/", "s3://b/"),
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"url": "https://a.example/"}, "key 'path' is missing"),
        ({"url": "a.example", "path": "/a"}, "no web address"),
        ({"url": "https://a.example/", "path": "xx://a"}, "names no objects"),
        ({"url": "https://a.example/", "path": ""}, "no path"),
        ({"url": "https://a.example/?q", "path": "/a"}, "no plain web address"),
        ({"url": "https://a.example/", "path": "/a", "x": 1}, "no key 'x'"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        site_rules([row], "hashscan.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("hashscan.toml, site rule 1")
