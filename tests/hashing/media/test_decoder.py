"""The sandbox's program is ready before the sandbox closes, and answers whatever it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hashscan
from hashscan.hashing.formats import FORMATS, sniff
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import MISSING
from hashscan.hashing.media.samples import samples
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import DIGESTS_MAX
from hashscan.model import Reason
from tests.compiled import needs_traces
from tests.pictures import scene

# After loading, every import and every opened file is noted: in the sandbox it would fail. The pictures are
# whole, cut and spoilt ones of all formats.
PROGRAM = """
import json, os, sys
from hashscan.hashing.media import decoder
assert not {"numpy", "PIL"} & set(sys.modules)
parts, names = int(sys.argv[1]), sys.argv[2:]
classes = {
    "pdq": "pdq:PDQ",
    **{name.lower(): "perceptual:" + name for name in ("PHash", "DHash", "AHash", "WHash")},
    "pdq_quadrants": "media.quadrants:PDQQuadrants",
}
decode = decoder.load(*("hashscan.hashing." + classes[name] for name in names), "max-pixels=900000")
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import fault_in, pack_request, unpack_reply
from hashscan.hashing.media.samples import samples, multi_picture_samples

from io import BytesIO
from PIL import Image, ImageOps

contents = {}
# Inside a border, reduced to 512x512, enlarged, turned by EXIF, of many colours and of few.
exif = Image.Exif()
exif[274] = 6
for side in (90, 700):
    for number, drawn in enumerate((Image.effect_noise((side, side), 90), Image.new("L", (side, side), 9))):
        file = BytesIO()
        ImageOps.expand(drawn, side // 9, 200).save(file, "JPEG", exif=exif)
        contents[0, f"framed {side} {number}"] = file.getvalue()
for place, known in enumerate(FORMATS):
    whole = samples().get(known.pillow, b"no picture")
    contents[place, "whole"] = whole
    for cut in range(1, len(whole), 1 + len(whole) // parts):
        contents[place, f"cut {cut}"] = whole[:cut]
        several = multi_picture_samples().get(known.pillow, b"")
        contents[place, f"several cut {cut}"] = several[: -cut]
        contents[place, f"several spoilt {cut}"] = several[:cut] + b"\\xff\\x7f" + several[cut + 2 :]
        contents[place, f"spoilt {cut}"] = whole[:cut] + b"\\xff\\x7f" + whole[cut + 2 :]
descriptors = {}
for key, content in contents.items():
    descriptors[key] = os.memfd_create("picture")
    os.pwrite(descriptors[key], content, 0)

noted = []
watching = True
def watch(event, arguments):
    if watching and event in {"import", "open", "socket.connect", "subprocess.Popen", "os.fork"}:
        noted.append([event, str(arguments[0])])
sys.addaudithook(watch)
replies = {key: decode(descriptors[key], pack_request(FORMATS[key[0]])) for key in contents}
watching = False

found = {}
for (place, kind), reply in replies.items():
    answer = unpack_reply(reply, FORMATS[place], names)
    if kind == "whole":
        name = FORMATS[place].pillow or FORMATS[place].name
        found[name] = getattr(answer, "name", None) or [
            [digest.algorithm, digest.value.hex(), digest.quality] for digest in answer.digests[: len(names)]
        ]
print(json.dumps({
    "noted": noted,
    "threads": len(os.listdir("/proc/self/task")),
    "blas": os.environ["OPENBLAS_NUM_THREADS"],
    "replies": len(replies),
    "faults": [fault_in(reply) for reply in replies.values() if fault_in(reply)],
    "found": found,
}))
"""


PARTS = 40
"""Places in each file at which it is cut and spoilt."""


def answers(*names: str, parts: int = PARTS) -> dict:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(parts), *names],
        # The zygote's environment is empty too.
        env={},
        cwd=Path(hashscan.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


EVERY = ("pdq", "phash", "dhash", "ahash", "whash", "pdq_quadrants")


@pytest.fixture(scope="module")
def answered() -> dict:
    return answers(*EVERY, parts=1)


def test_nothing_is_imported_or_opened_for_pdq_alone() -> None:
    """Other hashes' libraries import much that it could do with."""
    answered = answers("pdq", parts=8)
    assert answered["noted"] == answered["faults"] == []


@pytest.mark.slow
def test_nothing_is_imported_or_opened_after_loading() -> None:
    answered = answers(*EVERY)
    assert answered["noted"] == answered["faults"] == []
    assert answered["replies"] > 1000


def test_there_is_one_thread(answered: dict) -> None:
    assert answered["threads"] == 1
    assert answered["blas"] == "1"


def test_every_format_gets_the_digests_asked_for_in_their_order(answered: dict) -> None:
    for name, content in samples().items():
        if name in MISSING:
            continue
        algorithms = [algorithm for algorithm, _, _ in answered["found"][name]]
        assert algorithms == list(EVERY)
        descriptor = os.memfd_create("picture")
        os.pwrite(descriptor, content, 0)
        # Targa has no signature.
        known = sniff(content) or next(each for each in FORMATS if each.pillow == name)
        value, quality = PDQ().digest(next(decode_frames(PreadFile(descriptor), known)).luma)
        os.close(descriptor)
        assert answered["found"][name][0] == ["pdq", value.hex(), quality]


def test_formats_that_are_only_recognised_get_a_reason(answered: dict) -> None:
    assert answered["found"]["EPS"] == Reason.UNSUPPORTED.name


@pytest.mark.parametrize("name", ["HEIF", "JXL"])
def test_without_its_extra_a_format_gets_a_reason(answered: dict, name: str) -> None:
    if name not in MISSING:
        pytest.skip("the extra is installed")
    assert answered["found"][name] == Reason.UNSUPPORTED.name


def test_arguments_are_heeded() -> None:
    program = (
        "import os\n"
        "from hashscan.hashing.media import decoder; from hashscan.hashing import records, formats\n"
        "decode = decoder.load('max-pixels=255', 'hashscan.hashing.pdq:PDQ')\n"
        "from hashscan.hashing.media.samples import samples\n"
        "descriptor = os.memfd_create('picture')\n"
        "os.pwrite(descriptor, samples()['PNG'], 0)\n"
        "request = records.pack_request(formats.sniff(samples()['PNG']))\n"
        "print(records.unpack_reply(decode(descriptor, request), formats.FORMATS[1], ['pdq']).name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "TOO_LARGE"


ANSWER = """
import json, os, sys
from hashscan.hashing.media import decoder; from hashscan.hashing import formats, records
decode = decoder.load("hashscan.hashing.pdq:PDQ")
content = sys.stdin.buffer.read()
descriptor = os.memfd_create("picture")
os.pwrite(descriptor, content, 0)
known = formats.sniff(content)
answer = records.unpack_reply(decode(descriptor, records.pack_request(known)), known, ["pdq"])
damage = answer.damage and answer.damage.name
print(json.dumps([[digest.variant for digest in answer.digests], damage, answer.left_out]))
"""


def answer_to(content: bytes) -> tuple[list[str], str | None, int]:
    """Variants of its digests, damage, and the digests left out."""
    done = subprocess.run([sys.executable, "-c", ANSWER], input=content, capture_output=True, check=True)
    return tuple(json.loads(done.stdout))


def pages(images: list[Image.Image]) -> bytes:
    file = BytesIO()
    images[0].save(file, "TIFF", save_all=True, append_images=images[1:])
    return file.getvalue()


@needs_traces
def test_pages_are_hashed_in_full_while_there_is_room() -> None:
    variants, damage, left_out = answer_to(pages([scene(seed, 96, 72).convert("L") for seed in range(80)]))
    assert {f"page {number}" for number in range(2, 81)} <= set(variants)
    assert "page 30, inverted" in variants
    assert (len(variants), damage) == (DIGESTS_MAX, "TOO_MANY")
    assert left_out > 0


@needs_traces
def test_pages_of_what_accuses_nobody_need_no_room() -> None:
    random = np.random.default_rng(1)
    tables = []
    for _ in range(80):
        rows, columns = random.integers(0, 120, (9, 1)), random.integers(0, 120, (1, 12))
        table = Image.fromarray((rows + columns).astype(np.uint8))
        tables.append(table.resize((96, 72), Image.Resampling.NEAREST))
    variants, damage, left_out = answer_to(pages(tables))
    assert {f"page {number}" for number in range(2, 81)} <= set(variants)
    assert "page 30, inverted" in variants
    assert (damage, left_out) == (None, 0)
    assert len(variants) > DIGESTS_MAX - 9


def test_brief_frames_are_not_hashed_in_full() -> None:
    file = BytesIO()
    frames = [scene(seed) for seed in range(12)]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=80)
    variants, _, _ = answer_to(file.getvalue())
    assert [variant for variant in variants if "inverted" in variant and "frame" in variant] == [
        "frame 12, inverted",
        "frame 12, enlarged, inverted",
    ]
