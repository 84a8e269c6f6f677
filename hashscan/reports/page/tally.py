"""Counts what a report says, for the charts of its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hashscan.model import Verdict
from hashscan.reports.page.rows import Row, table, whole
from hashscan.reports.record_lines import Record
from hashscan.reports.records import FINDINGS

_DISTINCT = 100_000
"""Names that are counted apart; those that come later are counted together."""
SHOWN = 12
"""Bars of a chart."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a chart."""

    label: str
    count: int
    share: float
    """Of the longest bar, in percent."""
    tone: str = ""
    """A verdict, in whose colour it is drawn."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars with a title, which is a table as well."""

    title: str
    explained: str
    bars: tuple[Bar, ...]


class Names:
    """How often each of any number of names came, in little memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.late = 0
        """Of names that came when there were too many to tell apart."""

    def add(self, name: str) -> None:
        """Count a name."""
        if name in self.counts or len(self.counts) < _DISTINCT:
            self.counts[name] += 1
        else:
            self.late += 1

    @property
    def total(self) -> int:
        """All that was counted."""
        return self.counts.total() + self.late

    def chart(self, title: str, explained: str, *, unnamed: str) -> Chart:
        """The names that came most, and the others together.

        Args:
            title: of the chart.
            explained: what is counted.
            unnamed: what the empty name is called.
        """
        most = self.counts.most_common(SHOWN if len(self.counts) <= SHOWN else SHOWN - 1)
        bars = [(name or unnamed, count) for name, count in most]
        others = self.total - sum(count for _, count in bars)
        if others:
            number = len(self.counts) - len(most)
            bars.append((f"{'more than ' if self.late else ''}{number} others", others))
        return Chart(title, explained, _bars(bars))


class Tally:
    """What the records between the first and the summary say."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.folders: Counter[str] = Counter()
        self.further: Counter[str] = Counter()
        """Records that are about no file of this sweep, by type."""
        self.categories = Names()
        self.customers = Names()
        self.lists = Names()

    def count(self, row: Row) -> None:
        """Count a row."""
        if row.kind not in _VERDICTS:
            self.further[row.kind] += 1
            if row.kind == "folder":
                self.folders[row.why] += 1
            return
        self.verdicts[row.kind] += 1
        if row.kind in FINDINGS:
            self.categories.add(row.category)
            self.customers.add(row.customer)
            self.lists.add(row.list_name)
        elif len(self.reasons) < _DISTINCT:
            self.reasons[row.kind, row.why] += 1

    def charts(self) -> list[Chart]:
        """What there is to be seen at a glance; nothing of what there is none."""
        verdicts = [
            (verdict.value, self.verdicts[verdict]) for verdict in Verdict if verdict is not Verdict.CLEAN
        ]
        charts = [
            Chart(
                "Verdicts",
                "files that are not clean",
                _bars([(name, n) for name, n in verdicts if n], toned=True),
            ),
            self.categories.chart("Categories", "findings, by the match that weighs most", unnamed="none"),
            self.customers.chart("Customers", "findings, by who must act", unnamed="no customer known")
            if self.has_customers
            else Chart("Customers", "", ()),
            self.lists.chart("Lists", "findings, by the match that weighs most", unnamed="none"),
            Chart("Reasons", "files and folders not checked in full", _bars(self._reason_counts())),
        ]
        return [chart for chart in charts if chart.bars]

    @property
    def has_customers(self) -> bool:
        """Whether any rule said whose a finding is."""
        return any(self.customers.counts)

    def _reason_counts(self) -> list[tuple[str, int]]:
        counted = [(f"{kind}: {why}" if why else kind, n) for (kind, why), n in self.reasons.items()]
        counted += [(f"folder: {why}" if why else "folder", n) for why, n in self.folders.items()]
        counted.sort(key=lambda pair: -pair[1])
        if len(counted) <= SHOWN:
            return counted
        rest = counted[SHOWN - 1 :]
        return [*counted[: SHOWN - 1], (f"{len(rest)} other reasons", sum(n for _, n in rest))]


_VERDICTS = frozenset(verdict.value for verdict in Verdict)


def _bars(counts: list[tuple[str, int]], *, toned: bool = False) -> tuple[Bar, ...]:
    longest = max((count for _, count in counts), default=0)
    return tuple(
        Bar(name, count, round(100 * count / longest, 2), name if toned else "") for name, count in counts
    )


def verdicts_of(summary: Mapping[str, object] | None, tally: Tally) -> dict[str, int | None]:
    """Files by verdict; where there is no summary nobody knows how many are clean."""
    if summary is None:
        return {
            verdict.value: None if verdict is Verdict.CLEAN else tally.verdicts[verdict]
            for verdict in Verdict
        }
    counts: Record = table(summary, "verdicts")
    return {verdict.value: whole(counts, verdict) or 0 for verdict in Verdict}
