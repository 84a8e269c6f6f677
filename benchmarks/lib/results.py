"""Format the results of the runs: a table, and JSON for programs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.lib.measure import Sample

Value = Callable[["Result", int], float]
"""A number of one result's run, by the run's index."""


@dataclass(slots=True)
class Result:
    """The runs of one command."""

    name: str
    files: int
    bytes: int
    samples: list[Sample] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def add(self, sample: Sample, notes: dict[str, Any]) -> None:
        """Take in one run."""
        self.samples.append(sample)
        self.notes.append(notes)

    def median(self, value: Value) -> float:
        """Return the median of a number over the runs."""
        return statistics.median(value(self, run) for run in range(len(self.samples)))


def wall(result: Result, run: int) -> float:
    """Seconds from start to end."""
    return result.samples[run].wall


def wall_per_file(result: Result, run: int) -> float:
    """Milliseconds from start to end for each file."""
    return result.samples[run].wall / result.files * 1000


def loop_per_file(result: Result, run: int) -> float:
    """Milliseconds for each file without the start-up, for commands that say how long that was."""
    start_up: float = result.notes[run].get("start-up", 0.0)
    return (result.samples[run].wall - start_up) / result.files * 1000


def half_wall(result: Result, run: int) -> float:
    """Half the seconds: what two cores would need if the work split evenly."""
    return result.samples[run].wall / 2


def cpu(result: Result, run: int) -> float:
    """CPU seconds, user and system, with all descendants."""
    return result.samples[run].cpu


@dataclass(frozen=True, slots=True)
class Ratio:
    """One number of one command's runs divided by one of another's."""

    label: str
    above: str
    value_above: Value
    below: str
    value_below: Value
    most: float | None = None
    """Its limit, where it has to meet a target."""


def ratios(found: dict[str, Result], wanted: Sequence[Ratio]) -> list[dict[str, Any]]:
    """Return the ratios whose parts were timed: of the medians, and minimum and maximum within one round."""
    lines = []
    for ratio in wanted:
        if ratio.above not in found or ratio.below not in found:
            continue
        top, bottom = found[ratio.above], found[ratio.below]
        rounds = [ratio.value_above(top, r) / ratio.value_below(bottom, r) for r in range(len(top.samples))]
        lines.append(
            {
                "label": ratio.label.strip(),
                "ratio": top.median(ratio.value_above) / bottom.median(ratio.value_below),
                "least": min(rounds),
                "most": max(rounds),
                "at most": ratio.most,
            }
        )
    return lines


def _target(line: dict[str, Any]) -> str:
    if line["at most"] is None:
        return ""
    return f"  target {line['at most']:.3f}: {'met' if line['ratio'] <= line['at most'] else 'missed'}"


def _row(result: Result) -> list[str]:
    seconds = [sample.wall for sample in result.samples]
    last = result.notes[-1]
    start_up = statistics.median(note.get("start-up", 0.0) for note in result.notes)
    return [
        result.name,
        str(result.files),
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f}-{max(seconds):.2f}",
        f"{result.median(wall_per_file):.2f}",
        f"{result.median(cpu):.2f}",
        f"{result.median(cpu) / result.files * 1000:.2f}",
        f"{result.bytes / 1e6 / statistics.median(seconds):.1f}",
        f"{start_up:.2f}" if "start-up" in last else "",
        str(last.get("undecoded", "")),
        f"{statistics.median(sample.others for sample in result.samples):.2f}",
    ]


HEADINGS = [
    *("command", "files", "wall s", "least-most", "ms/file", "CPU s", "CPU ms/file", "MB/s"),
    *("start-up s", "undecoded", "others' CPU s"),
]


def table(about: dict[str, Any], found: dict[str, Result], wanted: Sequence[Ratio]) -> str:
    """Everything a person wants to see of the runs."""
    rows = [HEADINGS, *map(_row, found.values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [", ".join(f"{key} {value}" for key, value in about.items() if key != "peers")]
    if "peers" in about:
        lines.append("peers: " + ", ".join(f"{name} {version}" for name, version in about["peers"].items()))
    sandboxes = {note["sandbox"] for result in found.values() for note in result.notes if note.get("sandbox")}
    lines.extend(f"hashscan's sandbox: {level}" for level in sorted(sandboxes))
    lines.append("")
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    lines.append("")
    labels = ratios(found, wanted)
    width = max((len(line["label"]) for line in labels), default=0)
    lines.extend(
        f"{line['label']:{width}}  {line['ratio']:.3f}  ({line['least']:.3f}-{line['most']:.3f})"
        + _target(line)
        for line in labels
    )
    return "\n".join(lines).rstrip()


def as_json(about: dict[str, Any], found: dict[str, Result], wanted: Sequence[Ratio]) -> dict[str, Any]:
    """Return the results for programs to read (JSON), with every sample."""
    return {
        "about": about,
        "results": [
            {
                "name": result.name,
                "files": result.files,
                "bytes": result.bytes,
                "median_ms_per_file": result.median(wall_per_file),
                "median_cpu_seconds": result.median(cpu),
                "runs": [
                    {key: value for key, value in asdict(sample).items() if key != "output"} | notes
                    for sample, notes in zip(result.samples, result.notes, strict=True)
                ],
            }
            for result in found.values()
        ],
        "ratios": ratios(found, wanted),
    }
