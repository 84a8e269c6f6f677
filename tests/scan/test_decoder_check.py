"""Decoders that don't work any more, and customers who make it look so."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from hashscan.hashing import pillow_internals
from hashscan.hashing.media import jpeg_header
from hashscan.model import FileResult, FileStat, Reason, StoredContentData, Verdict
from hashscan.scan.decoder_check import DecodingCount
from tests.cli.conftest import Run, runner
from tests.pictures import encoded, scene
from tests.shortcomings import messages

JPEG = StoredContentData((), 0, None, confirmed=False)
WORKS: Mapping[str, str] = {}


def result(owner: int, reason: Reason | None, name: str = "JPEG") -> FileResult:
    verdict = Verdict.CLEAN if reason is None else Verdict.UNDECODED
    stat = FileStat(1, 2, 3, 4, 5, 1, owner)
    return FileResult(b"x", stat, verdict, reason, format="" if reason is None else name)


def counted(*files: tuple[int, int, Reason | None]) -> DecodingCount:
    """Return counts of decoded and failed files of some owners."""
    count = DecodingCount()
    for owner, number, reason in files:
        for _ in range(number):
            count.add(result(owner, reason), JPEG if reason is None else None)
    return count


def short(count: DecodingCount, broken: Mapping[str, str] = WORKS, before: int = 0) -> list[str]:
    return [one.message for one in count.shortcomings(lambda: broken, lambda name: before)]


def test_broken_files_of_one_or_two_customers_are_no_failure_of_the_scan() -> None:
    count = counted((1, 1000, Reason.BROKEN), (2, 1000, Reason.DECODER_DIED), (3, 5, None), (4, 5, None))
    assert short(count, before=10_000) == []


def test_a_picture_of_our_own_tells_a_broken_decoder_from_broken_files() -> None:
    count = counted((1, 4, Reason.BROKEN))
    assert short(count) == []
    (message,) = short(count, {"JPEG": "broken picture"})
    assert "JPEG" in message
    assert short(count, {"PNG": "broken picture"}) == []


def test_files_of_many_owners_that_used_to_be_decoded() -> None:
    count = counted(*((owner, 3, Reason.BROKEN) for owner in range(3)), (9, 1, None))
    assert len(short(count, before=10)) == 1
    assert short(count, before=9) == [], "so many were never decoded"


def test_limits_are_no_reason_and_a_missing_extra_is_one_only_where_it_was_there() -> None:
    assert short(counted((1, 99, Reason.TIMEOUT), (2, 99, Reason.TOO_LARGE)), {"JPEG": "x"}) == []
    lacking = counted((1, 9, Reason.UNSUPPORTED))
    assert short(lacking, {"JPEG": Reason.UNSUPPORTED.value}) == []
    assert len(short(lacking, {"JPEG": Reason.UNSUPPORTED.value}, before=1)) == 1


def test_few_files_have_nobody_ask() -> None:
    def unasked() -> Mapping[str, str]:
        raise AssertionError

    assert list(counted((1, 3, Reason.BROKEN)).shortcomings(unasked, lambda _: 9)) == []
    assert list(counted((1, 9, Reason.BROKEN), (2, 10, None)).shortcomings(unasked, lambda _: 9)) == []


class Changed:
    """Pillow's private module, as another release might have it."""

    def __getattr__(self, name: str) -> object:
        from PIL import _imaging

        if name == "jpeg_decoder":
            return lambda mode, *, options: None
        return getattr(_imaging, name)


@pytest.fixture
def untried() -> Iterator[None]:
    pillow_internals.private_decoder_works.cache_clear()
    yield
    pillow_internals.private_decoder_works.cache_clear()


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize("module", [None, Changed()])
def test_private_functions_that_have_changed_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    monkeypatch.setattr(pillow_internals, "_imaging", module)
    assert not pillow_internals.private_decoder_works()
    content = encoded(scene(5))
    header = jpeg_header.read_header(content)
    assert header is not None
    assert pillow_internals.decode_jpeg(content, header.size, 1) is None


@pytest.mark.usefixtures("untried")
def test_private_functions_that_give_other_pixels_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pillow_internals.private_decoder_works()
    pillow_internals.private_decoder_works.cache_clear()
    monkeypatch.setattr(pillow_internals, "_decode", lambda *_: np.zeros((8, 8), np.uint8))
    assert not pillow_internals.private_decoder_works()


def other_pillow(folder: Path, module: str, more: str) -> dict[str, str]:
    """The variables for commands that meet a Pillow in which a module ends with some lines more."""
    spec = importlib.util.find_spec("PIL")
    assert spec is not None
    assert spec.origin is not None
    real = Path(spec.origin).parent
    (folder / "PIL").mkdir(parents=True)
    for file in real.iterdir():
        if file.name not in {f"{module}.py", "__pycache__"}:
            (folder / "PIL" / file.name).symlink_to(file)
    for libraries in real.parent.glob("[Pp]illow.libs"):
        (folder / libraries.name).symlink_to(libraries)
    (folder / "PIL" / f"{module}.py").write_text((real / f"{module}.py").read_text() + more)
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))}


BROKEN_PNG = """
def _broken(self):
    raise TypeError("another Pillow")
PngImageFile._open = _broken
"""
OTHER_IMAGING = """
import sys
from . import _imaging
_known = _imaging.jpeg_decoder
def _changed(*arguments):
    # Pillow itself would know its new signature.
    if sys._getframe(1).f_globals["__name__"].startswith("hashscan"):
        raise TypeError("another signature")
    return _known(*arguments)
_imaging.jpeg_decoder = _changed
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def run(state: Path) -> Run:
    return runner(state)


def summary_of(report: Path) -> dict[str, object]:
    summary: dict[str, object] = json.loads(report.read_text().splitlines()[-1])
    return summary


@pytest.mark.slow
def test_a_decoder_that_is_broken_makes_a_scan_incomplete(run: Run, tmp_path: Path) -> None:
    env = other_pillow(tmp_path / "other", "PngImagePlugin", BROKEN_PNG)
    folder = tmp_path / "www"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(encoded(scene(number), "PNG"))
        (folder / f"{number}.jpg").write_bytes(encoded(scene(number)))
    scan = ("scan", folder, "--list", "demo", "--report", tmp_path / "r.jsonl")
    for no_state in ((), ("--no-state",)):
        ran = run(*scan, *no_state, env=env)
        assert ran.code == 3, ran.err
        (message,) = messages(summary_of(tmp_path / "r.jsonl"))
        assert "PNG" in message
    tested = run("selftest", env=env)
    assert tested.code == 70
    assert {line[5:].split(",")[0] for line in tested.out.splitlines() if line.startswith("FAIL")} >= {
        "not decoded: PNG"
    }
    # The same files of one owner, broken: that is nobody's failure.
    for path in folder.glob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    assert run(*scan, "--no-state").code == 0


@pytest.mark.slow
def test_private_functions_that_have_changed_cost_no_match(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "listed.jpg").write_bytes(encoded(scene(5), quality=90))
    (hashed,) = run("hash", folder / "listed.jpg", "--algorithm", "pdq").lines
    (tmp_path / "entries.csv").write_text(
        f"id,algorithm,value,category\ne,pdq,{hashed['digests']['pdq']},A1\n"
    )
    assert run("lists", "import", tmp_path / "entries.csv", "--name", "ours").code == 0
    scan = ("scan", folder, "--list", "ours", "--report", tmp_path / "r.jsonl")
    env = other_pillow(tmp_path / "other", "__init__", OTHER_IMAGING)
    ran = run(*scan, env=env)
    assert ran.code == 1, ran.err
    assert summary_of(tmp_path / "r.jsonl")["public_decoders"] == ["JPEG"]
    assert run("selftest", env=env).code == 0
    (folder / "listed.jpg").touch()
    assert run(*scan).code == 1
    assert "public_decoders" not in summary_of(tmp_path / "r.jsonl")
