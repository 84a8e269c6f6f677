"""Tests of attribution.customers."""

from __future__ import annotations

import os
import pwd
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.attribution.customers import Customers, customer_rules
from hashscan.attribution.hosting_panels import PANELS, rules_of_panels
from hashscan.errors import UsageError
from hashscan.model import CustomerRule


def by_path(*paths: str, name: str = "{customer}") -> CustomerRule:
    return CustomerRule("rule", name, paths)


@pytest.mark.parametrize(
    ("pattern", "path", "customer"),
    [
        ("/home/{customer}/", b"/home/alice/public_html/a.jpg", "alice"),
        ("/home/{customer}/**", b"/home/alice/a.jpg", "alice"),
        ("/home/{customer}/", b"/home/a.jpg", ""),
        ("/home/{customer}/", b"/homes/alice/a.jpg", ""),
        ("/home/{customer}", b"/home/a.jpg", "a.jpg"),
        ("/home/{customer}/", b"s3://home/alice/a.jpg", ""),
        ("/srv/**/site-{customer}/", b"/srv/site-x/a", "x"),
        ("/srv/**/site-{customer}/", b"/srv/1/2/site-x/a", "x"),
        ("/srv/**/site-{customer}/", b"/srv/1/2/site-/a", ""),
        ("**/{customer}/htdocs/", b"/a/b/c/htdocs/d", "c"),
        ("/d/{customer}.org/", b"/d/a.org.org/x", "a.org"),
        ("/d/*-{customer}-*/", b"/d/1-a-b-2/x", "a"),
        ("s3://up-{customer}/", b"s3://up-bob/a/b.jpg", "bob"),
        ("s3://up-{customer}/", b"gs://up-bob/a/b.jpg", ""),
        ("s3://up/{customer}_*", b"s3://up/bob_1.jpg", "bob"),
        (r"/d/\{{customer}\}/", b"/d/{bob}/x", "bob"),
        ("/home/{customer}/", b"/home/a\nb\x1b[1m/x", "a\nb\x1b[1m"),
        ("/home/{customer}/", b"/home/a\xff/x", "a\\xff"),
        ("/home/{customer}/", b"/home//x", ""),
    ],
)
def test_a_path_says_who_it_is(pattern: str, path: bytes, customer: str) -> None:
    assert Customers([by_path(pattern)]).of(path, None) == customer


def test_the_first_rule_that_applies_decides() -> None:
    rules = [
        by_path("/home/shared/", name=""),
        CustomerRule("rule", "both-{customer}", ("/home/{customer}/",), ((5, 9),)),
        by_path("/home/{customer}/"),
    ]
    customers = Customers(rules)
    assert customers.answer(b"/home/shared/x", 5) == ("", rules[0])
    assert customers.of(b"/home/alice/x", 9) == "both-alice"
    assert customers.of(b"/home/alice/x", 10) == "alice"
    assert customers.of(b"/home/alice/x", None) == "alice"
    assert customers.answer(b"/etc/x", 5) == ("", None)


def test_a_user_is_called_by_name_and_else_by_number() -> None:
    customers = Customers([CustomerRule("rule", "u-{user}")])
    assert customers.of(b"/x", os.getuid()) == f"u-{pwd.getpwuid(os.getuid()).pw_name}"
    assert customers.of(b"/x", 4_000_000_000) == "u-4000000000"
    assert customers.of(b"/x", 1 << 70) == f"u-{1 << 70}"
    assert customers.of(b"s3://b/x", None) == ""


def test_the_name_of_a_file_counts_where_a_rule_asks_for_it() -> None:
    customers = Customers([by_path("/in/{customer}.jpg"), by_path("/in/", name="rest")])
    assert (customers.of(b"/in/a.jpg", 0), customers.of(b"/in/b.jpg", 0)) == ("a", "b")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (by_path("home/{customer}/"), "does not begin where paths do"),
        (by_path("/home/{customr}/"), "{customr}"),
        (by_path("/home/alice/"), "does not say who the customer is"),
        (by_path("/"), "names no folder"),
        (by_path("/a/../{customer}/"), "component that no name matches"),
        (by_path("/a/{customer}{customer}/"), "may be anything before it"),
        (by_path("/a/{customer}*/"), "and a star"),
        (by_path("/{customer}/{customer}/"), "is unknown or repeated"),
        (by_path("/[a/{customer}/"), "bracket"),
        (CustomerRule("rule", "Alice"), "asks for nothing"),
        (CustomerRule("rule", "{customer}", (), ((1, 2),)), "no path that says"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(rule: CustomerRule, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Customers([rule])
    assert message in str(caught.value)


def test_a_folder_is_whose_its_files_are() -> None:
    customers = Customers([by_path("/home/{customer}/")])
    assert customers.named({"type": "folder", "path": "/home/alice"})["customer"] == "alice"
    assert "customer" not in customers.named({"type": "unreadable", "path": "/home/alice"})
    assert "customer" not in customers.named({"type": "summary"})


@given(st.binary(max_size=300), st.none() | st.integers(-1, 1 << 40))
def test_no_path_makes_it_fail(path: bytes, uid: int | None) -> None:
    customers = Customers(
        [*rules_of_panels(PANELS), by_path("/**/a*b-{customer}-*c/**"), by_path("**/{customer}")]
    )
    for one in (path, b"/home/" + path, b"s3://" + path):
        customers.of(one, uid).encode()


@given(st.binary(min_size=1, max_size=50).filter(lambda name: b"/" not in name and not name.startswith(b".")))
def test_any_name_of_a_folder_is_a_customer(name: bytes) -> None:
    found = Customers([by_path("/h/{customer}/")]).of(b"/h/" + name + b"/x", None)
    assert found == name.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize(
    ("panel", "path", "customer"),
    [
        ("cpanel", b"/home/alice/public_html/a.jpg", "alice"),
        ("cpanel", b"/home2/alice/mail/a", "alice"),
        ("cpanel", b"/home/virtfs/alice/home/alice/public_html/a.jpg", "alice"),
        ("cpanel", b"/home/virtfs/a.jpg", ""),
        ("cpanel", b"/home/.cpan/a", ""),
        ("cpanel", b"/home3/lost+found/a", ""),
        ("plesk", b"/var/www/vhosts/example.org/httpdocs/a.jpg", "example.org"),
        ("plesk", b"/var/www/vhosts/system/example.org/logs/a", "example.org"),
        ("plesk", b"/var/www/vhosts/default/a", ""),
        ("plesk", b"/var/qmail/mailnames/example.org/info/Maildir/a", "example.org"),
        ("directadmin", b"/home/alice/domains/example.org/public_html/a.jpg", "alice"),
        ("ispconfig", b"/var/www/clients/client3/web16/web/a.jpg", "client3"),
        ("hestia", b"/home/alice/web/example.org/public_html/a.jpg", "alice"),
        ("virtualmin", b"/home/alice/domains/example.org/public_html/a.jpg", "alice"),
        ("cyberpanel", b"/home/example.org/public_html/a.jpg", "example.org"),
        ("cyberpanel", b"/home/vmail/example.org/info/Maildir/a", "example.org"),
        ("froxlor", b"/var/customers/webs/alice/shop/a.jpg", "alice"),
        ("froxlor", b"/var/customers/mail/alice/example.org/info/Maildir/a", "alice"),
        ("cloudpanel", b"/home/alice-site/htdocs/example.org/a.jpg", "alice-site"),
        ("aapanel", b"/www/wwwroot/example.org/a.jpg", "example.org"),
        ("home", b"/home/alice/a.jpg", "alice"),
        ("www", b"/var/www/example.org/a.jpg", "example.org"),
        ("www", b"/var/www/html/a.jpg", ""),
    ],
)
def test_panels_lay_out_their_customers(panel: str, path: bytes, customer: str) -> None:
    assert Customers(rules_of_panels([panel])).of(path, None) == customer


def test_every_panel_is_tried_here() -> None:
    tried = test_panels_lay_out_their_customers.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {panel for panel, _, _ in tried} == set(PANELS)


def test_an_unknown_panel_is_refused() -> None:
    with pytest.raises(UsageError, match="no layout 'cpannel'"):
        rules_of_panels(["cpannel"])


def read(text: str) -> tuple[CustomerRule, ...]:
    return customer_rules(tomllib.loads(text)["customer"], "hashscan.toml")


def test_rules_are_read_in_their_order() -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    assert read(
        f"""
        [[customer]]
        path = "/srv/{{customer}}/"
        [[customer]]
        path = ["/a/", "s3://b/"]
        name = "Alice & Co"
        [[customer]]
        owner = ["{me}", 12, "1000-1999"]
        [[customer]]
        path = "/tmp/"
        name = ""
        """
    ) == (
        CustomerRule("customer rule 1", "{customer}", ("/srv/{customer}/",)),
        CustomerRule("customer rule 2", "Alice & Co", ("/a/", "s3://b/")),
        CustomerRule("customer rule 3", "{user}", (), ((os.getuid(), os.getuid()), (12, 12), (1000, 1999))),
        CustomerRule("customer rule 4", "", ("/tmp/",)),
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"pth": "/a"}, "no key 'pth'"),
        ({"path": []}, "empty list"),
        ({"path": 3}, "no pattern"),
        ({"path": "xx://a/{customer}"}, "names no objects"),
        ({"path": "/a/"}, "does not say who"),
        ({"path": "/{customer"}, "does not say who"),
        ({"name": "Alice"}, "asks for nothing"),
        ({"path": "/a/", "name": "a\nb"}, "is not permitted there"),
        ({"path": "/a/", "name": "x" * 300}, "is not permitted there"),
        ({"path": "/a/", "name": "{domain}"}, "nothing is called {domain}"),
        ({"owner": "no-such-user-here"}, "no user 'no-such-user-here'"),
        ({"owner": "9-1"}, "no user '9-1'"),
        ({"owner": True}, "no user"),
        ({"owner": -1}, "no user"),
        ({}, "asks for nothing"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        customer_rules([{"path": "/a/{customer}/"}, row], "hashscan.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("hashscan.toml, customer rule 2")
    assert caught.value.remedy
