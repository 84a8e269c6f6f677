"""The contents that the clients send, the versions of the list that has some of them, and what is wrong."""

from __future__ import annotations

import hashlib
import itertools
import random
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hashscan.hashing.pdq import PDQ
from tests.cli.conftest import COMMAND, environment
from tests.pictures import encoded, scene
from tests.service.doors.clamd.talking import EICAR

FILLERS = 5000
"""Entries of each version that nothing matches."""
AGAIN = "again"


@dataclass(frozen=True)
class Sample:
    """A content to check."""

    kind: str
    content: bytes

    def refused_by(self, version: int) -> bool:
        """Return True if a version of the list has it."""
        if self.kind in {"even", "odd"}:
            return version % 2 == (self.kind == "odd")
        return self.kind in {"planted", "recompressed", "large"}


class Pictures:
    """The drawn pictures, each of which is sent with a comment that no other has."""

    SEEDS: ClassVar = {"always": 5, "even": 6, "odd": 7}

    def __init__(self) -> None:
        self.planted = encoded(scene(self.SEEDS["always"]), quality=90)
        self.digests = {
            name: PDQ().digest(np_grey(scene(seed)))[0].hex() for name, seed in self.SEEDS.items()
        }
        self.coded = {
            name: [encoded(scene(seed), quality=quality) for quality in range(55, 95, 5)]
            for name, seed in self.SEEDS.items()
        }
        clean = [encoded(scene(seed), quality=80) for seed in range(20, 40)]
        large = [encoded(scene(self.SEEDS["always"]).resize((1600, 1200)), quality=70)]
        self._of = {
            "recompressed": self.coded["always"],
            "even": self.coded["even"],
            "odd": self.coded["odd"],
            "clean": clean,
            "large": large,
            "cut": [picture[: len(picture) // 2] for picture in clean],
        }
        self._numbers = itertools.count()

    def draw(self, chosen: random.Random) -> Sample:
        """Return a content of a random kind."""
        kinds = (*self._of, "planted", "noise", "eicar")
        (kind,) = chosen.choices(kinds, (20, 12, 12, 30, 1, 6, 6, 6, 3))
        if kind == "planted":
            return Sample(kind, self.planted)
        if kind == "eicar":
            return Sample(kind, EICAR)
        if kind == "noise":
            return Sample(kind, self.planted[:400] + chosen.randbytes(chosen.randrange(20000)))
        content = chosen.choice(self._of[kind])
        comment = b"\xff\xfe\x00\x0a%08d" % next(self._numbers)
        return Sample(kind, content[:2] + comment + content[2:])


def np_grey(picture: Any) -> Any:
    """Return the grey values of a picture."""
    return np.asarray(picture.convert("L"))


class Versions:
    """The versions of the list: when each was begun to be made, and since when it is known to be in use."""

    def __init__(self, folder: Path, state: Path, pictures: Pictures) -> None:
        self._folder = folder
        self._state = state
        self._pictures = pictures
        self.begun: list[float] = []
        self.known: list[float] = []

    def import_next(self) -> None:
        """Make the next version by the real command."""
        number = len(self.begun)
        names = ("always", "odd" if number % 2 else "even")
        rows = ["id,algorithm,value,category"]
        rows += [f"v{number}-{name},pdq,{self._pictures.digests[name]},A1" for name in names]
        rows += [f"v{number}-exact,sha256,{hashlib.sha256(self._pictures.planted).hexdigest()},A1"]
        filler = (hashlib.sha256(b"%d" % place).hexdigest() for place in range(FILLERS))
        rows += [f"v{number}-f{n},{'pdq' if n % 2 else 'sha256'},{v},A1" for n, v in enumerate(filler)]
        entries = self._folder / f"v{number}.csv"
        entries.write_text("\n".join(rows) + "\n")
        self.begun.append(time.monotonic())
        self._command("lists", "import", entries, "--name", "national")
        entries.unlink()

    def _command(self, *arguments: object) -> None:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env=environment(self._state), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stderr}")

    def possible(self, begin: float, end: float) -> range:
        """Return the versions that may have answered a request."""
        known = sum(at <= begin for at in list(self.known)) - 1
        return range(max(0, known), sum(at <= end for at in list(self.begun)))


@dataclass(frozen=True)
class Given:
    """An answer."""

    outcome: str
    """allow, refuse or again"""
    versions: frozenset[int] = frozenset()
    """Those whose entries it names."""


@dataclass
class Tally:
    """The counts of all clients."""

    requests: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def judge(
        self, door: str, sample: Sample, given: Given, versions: Versions, begin: float, end: float
    ) -> None:
        """Count an answer, and note if it is wrong."""
        self.requests[door] += 1
        self.by_kind[sample.kind] += 1
        self.seconds.append(end - begin)
        if given.outcome == AGAIN:
            self.again[door] += 1
            return
        possible = versions.possible(begin, end)
        eicar = sample.kind == "eicar" and door.startswith("clamd")
        fits = [
            number
            for number in (given.versions or possible)
            if number in possible and (eicar or sample.refused_by(number)) == (given.outcome == "refuse")
        ]
        if not fits or len(given.versions) > 1:
            self.wrong.append(f"{door}: {sample.kind} got {given}; possible were {possible}")
