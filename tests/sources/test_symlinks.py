"""Links that only the administrator can have made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hashscan.attribution.sites import Sites
from hashscan.model import SiteRule
from hashscan.sources.symlinks import resolve_admin_links


def test_links_are_followed_to_their_end(tmp_path: Path) -> None:
    real = tmp_path.resolve() / "clients" / "client1" / "web1" / "web"
    real.mkdir(parents=True)
    (tmp_path / "clients" / "one").symlink_to("client1/../client1/./web1")
    (tmp_path / "bob.example").symlink_to(tmp_path / "clients" / "one")
    here = os.fsencode(tmp_path)
    assert resolve_admin_links(here + b"/bob.example/web") == os.fsencode(real)
    assert resolve_admin_links(os.fsencode(real)) == os.fsencode(real)
    assert resolve_admin_links(here + b"/bob.example/none/x") == os.fsencode(real.parent) + b"/none/x"
    assert resolve_admin_links(b"/") == b"/"
    (tmp_path / "up").symlink_to("/../..")
    assert resolve_admin_links(here + b"/up") == b"/"
    sites = Sites([SiteRule("rule", "https://{domain}/", f"{tmp_path}/{{domain}}/web")])
    assert sites.paths_of("https://bob.example/a.jpg") == (os.fsencode(real) + b"/a.jpg",)


def test_links_in_a_circle_and_names_that_can_not_be_stay(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    circle = os.fsencode(tmp_path) + b"/a/x"
    assert resolve_admin_links(circle) in {circle, circle.replace(b"/a/", b"/b/")}
    for path in (b"/x\0y/z", b"/" + b"n" * 5000):
        assert resolve_admin_links(path) == path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_customers_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    link = tmp_path / "public_html"
    link.symlink_to("victim")
    os.lchown(link, 12345, 12345)
    assert resolve_admin_links(os.fsencode(link) + b"/x") == os.fsencode(link) + b"/x"
