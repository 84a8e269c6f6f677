"""List the folder layouts of common hosting panels, as rules that assign files to customers.

A customer has the name of the panel's folder: the account where it has accounts, else the domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hashscan.errors import UsageError
from hashscan.model import CustomerRule

_HOMES = ("/home", "/home[0-9]", "/home[0-9][0-9]")
"""One folder for each disk, as panels name them."""


@dataclass(frozen=True, slots=True)
class Panel:
    """The layout of one panel."""

    summary: str
    paths: tuple[str, ...]
    unassigned: tuple[str, ...] = ()
    """Patterns for paths beneath those that belong to no customer."""
    within: tuple[str, ...] = ()
    """Patterns for paths beneath `unassigned` that name a customer all the same."""


PANELS: Mapping[str, Panel] = {
    "cpanel": Panel(
        "cPanel: accounts in /home, /home2 and so on, and what they see of it in their jails",
        tuple(f"{home}/{{customer}}/" for home in _HOMES),
        ("/home/virtfs/", "/home/cPanelInstall/"),
        ("/home/virtfs/{customer}/",),
    ),
    "plesk": Panel(
        "Plesk: subscriptions, by their domains, in /var/www/vhosts; mail in /var/qmail/mailnames",
        ("/var/www/vhosts/{customer}/", "/var/qmail/mailnames/{customer}/"),
        tuple(f"/var/www/vhosts/{name}/" for name in ("system", "default", "chroot", "fs")),
        ("/var/www/vhosts/system/{customer}/",),
    ),
    "directadmin": Panel(
        "DirectAdmin: accounts in /home, /home2 and so on",
        tuple(f"{home}/{{customer}}/" for home in _HOMES),
        ("/home/tmp/",),
    ),
    "ispconfig": Panel(
        "ISPConfig: clients, by their numbers, in /var/www/clients; mail, by domain, in /var/vmail",
        ("/var/www/clients/{customer}/", "/var/vmail/{customer}/"),
        ("/var/vmail/mailfilters/",),
    ),
    "hestia": Panel(
        "Hestia and Vesta: users in /home",
        ("/home/{customer}/",),
    ),
    "virtualmin": Panel(
        "Virtualmin: the owners of virtual servers, with all they have, in /home",
        ("/home/{customer}/",),
    ),
    "cyberpanel": Panel(
        "CyberPanel: websites, by their domains, in /home; mail, by domain, in /home/vmail",
        ("/home/{customer}/",),
        ("/home/vmail/", "/home/backup/"),
        ("/home/vmail/{customer}/",),
    ),
    "froxlor": Panel(
        "froxlor: customers in /var/customers, with webs, mail and tmp",
        (
            "/var/customers/webs/{customer}/",
            "/var/customers/mail/{customer}/",
            "/var/customers/tmp/{customer}/",
        ),
    ),
    "cloudpanel": Panel(
        "CloudPanel: site users in /home",
        ("/home/{customer}/",),
        ("/home/clp/",),
    ),
    "aapanel": Panel(
        "aaPanel: websites, mostly by their domains, in /www/wwwroot",
        ("/www/wwwroot/{customer}/",),
    ),
    "home": Panel(
        "no panel: users in /home",
        ("/home/{customer}/",),
    ),
    "www": Panel(
        "no panel: a folder for each in /var/www",
        ("/var/www/{customer}/",),
        ("/var/www/html/", "/var/www/cgi-bin/"),
    ),
}
"""Layouts by the name that settings use."""


def rules_of_panels(names: Iterable[str]) -> tuple[CustomerRule, ...]:
    """Return the rules of some panels, in this order.

    Raises:
        UsageError: there is no such panel.
    """
    rules: list[CustomerRule] = []
    for name in dict.fromkeys(names):
        if name not in PANELS:
            raise UsageError(f"there is no layout {name!r}", advice=f"There is {', '.join(PANELS)}.")
        panel, origin = PANELS[name], f"layout {name}"
        if panel.within:
            rules.append(CustomerRule(origin, paths=panel.within))
        # Hidden folders and fsck's lost+found are beside the customers' folders, and belong to none.
        beside = (path.replace("{customer}", other) for path in panel.paths for other in (".*", "lost+found"))
        rules.append(CustomerRule(origin, "", (*panel.unassigned, *beside)))
        rules.append(CustomerRule(origin, paths=panel.paths))
    return tuple(rules)
