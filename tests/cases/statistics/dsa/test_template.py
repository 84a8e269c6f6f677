"""The parts of a transparency report have the Commission's columns, codes, marks and order, byte for byte."""

from __future__ import annotations

import hashlib
from datetime import date

import pytest

from hashscan.cases.notices.notice import NoticeKind
from hashscan.cases.statistics.dsa.figures import Activity, Received
from hashscan.cases.statistics.dsa.report import About, Part, parts
from hashscan.cases.statistics.dsa.template import NAMES, csv_text
from hashscan.cases.statistics.periods import Period

SHA256 = {
    "1_summary": "e361284bcbca31d0f6c40c22999fd9957e21ae59e13bc67c8ca829b86594b10b",
    "2_categories_names": "ce1f80280d31da5e7cf4b85bc8da788760991e30696658bab18995c8829efb7b",
    "3_member_states_orders": "1c4f6d84ac0cea4b306eb05451bc7477bb94ac0e68b672152628b5ae3524245b",
    "4_notices": "c9d8986a04c01a6ae4b84583f3479323eceb884489608474c7d0976fb20eb9e6",
    "5_own_initiative_illegal": "8dc7082e0bfefcbde67323d500a00c65029a85e4a2094e50cba72d4c29767df2",
    "6_own_initiative_TC": "423dc6c8bc62109b6efeb94f188066b30cac94227ed8a33beeeac3c25e7c3011",
    "7_appeals_and_recidivism": "c355cf9369a115fa51f9c9626cc7917bc24b48db7d6dc6cff3028c81de388aad",
    "8_automated_means": "1a687f468468b25b214f505c4a6cb906d6ee8cc80d20f5a60eca383cc1bea71d",
    "9_human_resources": "2393d48b65e94d86f769d5cb8e1017ad2516ca0883f7f10b0eabad1bf143cb84",
    "10_AMAR": "cea923187f8eea0ad82c8f562ce3cfcdbd371e64908cb4c6acbfeaf2baf04a75",
    "11_qualitative": "b6b827b36aa0431ca9688c4dd092379f6b6b0ba1e227c96d4248ccdfc1670b34",
}
"""Digests of the Commission's files; of parts 1 and 11 without the last column, which has examples."""
PERIOD = {"2026-01-01/2026-12-31": "YYYY-MM-DD/YYYY-MM-DD", "AT": "AT, […], SE"}
ORDER = Received(1, NoticeKind.ORDER, False, "AT", 5, None, None, 1, ("TOTAL",), (1,))


def labels(part: Part) -> bytes:
    """Return a part without figures, with the placeholders of the templates."""
    width = len(part.columns) - (part.name in {"1_summary", "11_qualitative"})
    is_table = part.name != "10_AMAR"
    rows = [
        [PERIOD.get(cell, cell) if is_table or cell != "AT" else cell for cell in row.labels]
        for row in part.rows
    ]
    return csv_text([part.columns[:width], *((row + [""] * width)[:width] for row in rows)]).encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_part_without_figures_is_the_template(name: str) -> None:
    found = Activity(Period("2026", 0, 10, True), received=[ORDER])
    report = parts(found, About(date(2026, 1, 1), date(2026, 12, 31)))
    (part,) = [part for part in report if part.name == name]
    assert hashlib.sha256(labels(part)).hexdigest() == SHA256[name]
