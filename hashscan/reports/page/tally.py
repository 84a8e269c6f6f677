"""Count the records of a report for the charts of its page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hashscan.model import Verdict
from hashscan.reports.page.rows import Row
from hashscan.reports.records import FINDINGS, Record

_DISTINCT = 100_000
"""Maximum distinct names that are counted separately; later ones are counted together."""
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart."""

    label: str
    count: int
    share: float
    """Length in percent of the longest bar."""
    tone: str = ""
    """Verdict that sets its colour."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A titled bar chart, which is also a table."""

    title: str
    explained: str
    bars: tuple[Bar, ...]


class Names:
    """Counts of names, in bounded memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.late = 0
        """Count of names that came after the limit of distinct names."""

    def add(self, name: str) -> None:
        if name in self.counts or len(self.counts) < _DISTINCT:
            self.counts[name] += 1
        else:
            self.late += 1

    def chart(self, title: str, explained: str, *, unnamed: str) -> Chart:
        """Return a chart of the most frequent names; the others are one bar; `unnamed` is the empty name."""
        most = self.counts.most_common(SHOWN if len(self.counts) <= SHOWN else SHOWN - 1)
        bars = [(name or unnamed, count) for name, count in most]
        others = self.counts.total() + self.late - sum(count for _, count in bars)
        if others:
            number = len(self.counts) - len(most)
            bars.append((f"{'more than ' if self.late else ''}{number} others", others))
        return Chart(title, explained, _bars(bars))


class Tally:
    """The counts of the records between the first and the last."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.folders: Counter[str] = Counter()
        self.further: Counter[str] = Counter()
        """Records that are not about a file of this scan, by type."""
        self.categories = Names()
        self.customers = Names()
        self.lists = Names()

    def count(self, row: Row) -> None:
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


def verdicts_of(summary: Record | None, tally: Tally) -> dict[str, int | None]:
    """Return the number of files by verdict; without a summary the number of clean files is not known."""
    if summary is None:
        return {
            verdict.value: None if verdict is Verdict.CLEAN else tally.verdicts[verdict]
            for verdict in Verdict
        }
    return {verdict.value: summary["verdicts"].get(verdict, 0) for verdict in Verdict}
