"""Drawings checked by a worker: as pictures, with the pictures in them, within their limit of time."""

from __future__ import annotations

import base64
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashscan.matching.worker_setup import WorkerSetup
from hashscan.model import Batch, FileResult, MemberLimits, Reason, Verdict
from hashscan.sandbox.client import SandboxOptions
from hashscan.scan.workers.worker import Worker
from hashscan.sources.base import ListingOptions
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.patterns import Patterns
from tests.hashing.svg.test_rendering import RED, svg
from tests.pictures import encoded, scene

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("forked_zygotes")]

SETUP = WorkerSetup(
    lists=(),
    sandbox=SandboxOptions("auto"),
    algorithms=("sha256", "pdq"),
    max_pixels=10**7,
    with_digests=True,
    containers=MemberLimits(),
)
URL = f"data:image/png;base64,{base64.b64encode(encoded(scene(3), 'PNG')).decode()}"
SHOWS_PICTURE = svg(f'<image width="320" height="240" href="{URL}"/>', 'width="320" height="240"')

PARTS = "".join(f"<!ENTITY part{at} '{part}'>" for at, part in enumerate((URL[:9], URL[9:100], URL[100:])))
BY_ENTITIES = svg(
    '<rect width="320" height="240"/><image width="100" height="75" href="&part0;&part1;&part2;"/>',
    'width="320" height="240"',
    head=f"<!DOCTYPE svg [{PARTS}]>",
)
BESIDE_ENTITIES = svg(
    f'<image width="320" height="240" href="{URL}"/>',
    'width="320" height="240"',
    head="<!DOCTYPE svg [<!ENTITY name 'http://example.org/'>]>",
)

Check = Callable[[dict[str, bytes]], dict[str, FileResult]]


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Check]:
    with Worker(SETUP) as worker:

        def check(files: dict[str, bytes]) -> dict[str, FileResult]:
            for name, content in files.items():
                (tmp_path / name).write_bytes(content)
            options = ListingOptions(exclude=Patterns.compile((), None))
            listings = FilesystemSource([os.fsencode(tmp_path)], options).listings()
            batches = [listing for listing in listings if isinstance(listing, Batch)]
            results = [result for batch in batches for result in worker.check(batch).results]
            return {os.fsdecode(result.name): result for result in results}

        yield check


def pdq(result: FileResult) -> list[int]:
    return [int.from_bytes(each.value) for each in result.digests if each.algorithm == "pdq"]


def test_a_picture_drawn_by_its_tiles_is_hashed_as_it_is_shown(check: Check) -> None:
    picture = scene(3)
    tiles = ""
    for left in range(0, 320, 80):
        part = base64.b64encode(encoded(picture.crop((left, 0, left + 80, 240)), "PNG")).decode()
        tiles += f'<image x="{left}" width="80" height="240" href="data:image/png;base64,{part}"/>'
    found = check(
        {
            "tiles.svg": svg(tiles, 'width="320" height="240"'),
            "one.svg": SHOWS_PICTURE,
            "picture.png": encoded(picture, "PNG"),
        }
    )
    assert {result.verdict for result in found.values()} == {Verdict.CLEAN}
    of_picture = pdq(found["picture.png"])[0]
    for name in ("tiles.svg", "one.svg"):
        assert min((of_picture ^ each).bit_count() for each in pdq(found[name])) <= 10


def test_other_programs_content_is_opened_too(check: Check) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.svg", svg('<g systemLanguage="de"/>'))
    found = check(
        {
            "document": svg(RED, head="<!--%PDF-1.4\n1 0 obj<</Type/Page>>endobj -->"),
            "archive.svg": svg(RED) + archive.getvalue(),
            "archive.zip": archive.getvalue(),
            "plain": svg(RED),
        }
    )
    verdicts = {name: result.verdict for name, result in found.items()}
    assert verdicts == {
        "document": Verdict.UNDECODED,
        "archive.svg": Verdict.UNDECODED,
        "archive.zip": Verdict.UNDECODED,
        "plain": Verdict.CLEAN,
    }


@pytest.mark.slow
def test_a_drawing_that_takes_long_costs_one_verdict(check: Check) -> None:
    bomb = svg(
        '<filter id="f" x="0" y="0" width="1" height="1">'
        '<feTurbulence baseFrequency="0.7" numOctaves="9999999"/></filter>'
        '<rect width="500" height="500" filter="url(#f)"/>',
        'width="500" height="500"',
    )
    doubled = "".join(
        f'<g id="g{place}"><use href="#g{place - 1}"/><use href="#g{place - 1}"/></g>'
        for place in range(1, 30)
    )
    found = check(
        {
            "a.svg": svg(RED),
            "bomb.svg": bomb,
            "doubled.svg": svg(f'<defs><path id="g0" d="M0 0h9v9"/>{doubled}</defs><use href="#g29"/>'),
            "z.svg": svg(RED),
        }
    )
    assert {name: result.verdict for name, result in found.items()} == {
        "a.svg": Verdict.CLEAN,
        "bomb.svg": Verdict.UNDECODED,
        "doubled.svg": Verdict.UNDECODED,
        "z.svg": Verdict.CLEAN,
    }
    assert found["bomb.svg"].reason is Reason.TIMEOUT


def test_a_picture_that_entities_put_together_is_in_doubt(check: Check) -> None:
    found = check({"a.svg": BY_ENTITIES, "b.svg": BESIDE_ENTITIES})
    assert [found[name].verdict for name in ("a.svg", "b.svg")] == [Verdict.UNDECODED, Verdict.CLEAN]
