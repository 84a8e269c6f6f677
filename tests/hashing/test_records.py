"""The records between worker and decoder, of which the worker believes nothing unchecked."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hashscan.hashing import records
from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS
from hashscan.hashing.records import (
    DECODE_REASONS,
    DIGESTS_MAX,
    FAULT_MAX,
    REPLY_MAX,
    ROOM,
    DecodedPicture,
    pack_failure,
    pack_picture,
    pack_request,
    room_of,
    unpack_reply,
    unpack_request,
)
from hashscan.hashing.variants import (
    RENDERINGS,
    RESTORATIONS,
    RESTORED,
    SECTION,
    SECTIONS,
    SIMILARITY_DOUBTS,
    TURNS,
    WHOLE,
    DigestRun,
    Kind,
    Part,
    PictureDigest,
)
from hashscan.model import ALGORITHMS, COMPUTED, QUADRANTS, Digest, Picture, Reason
from hashscan.sandbox import protocol
from tests.hashing.runs import runs

OF_PICTURES = [name for name in COMPUTED if ALGORITHMS[name].of_picture]
JPEG = FORMATS[0]
HEADER, HEAD = 16, 12
"""Bytes, as the module's documentation adds up to."""

some_algorithms = st.lists(st.sampled_from(OF_PICTURES), unique=True)
some_format = st.sampled_from(FORMATS)


def stored(name: str, value: bytes | None = None, quality: int = 77) -> PictureDigest:
    """The digest of a picture as it is stored."""
    return PictureDigest(
        WHOLE, 0, 0, False, name, value or bytes(range(ALGORITHMS[name].size)), quality, doubt=0
    )


def any_variant(algorithms: list[str]) -> st.SearchStrategy[PictureDigest]:
    """A digest by one of some algorithms, of anything that a decoder may name."""
    counted = st.builds(Part, st.sampled_from(list(Kind)[1:]), st.integers(0, 2**32 - 1))
    return st.sampled_from(algorithms).flatmap(
        lambda name: (
            st.builds(
                PictureDigest,
                st.one_of(st.just(WHOLE), counted),
                st.integers(0, len(RENDERINGS) - 1),
                st.integers(0, len(TURNS) - 1),
                st.booleans(),
                st.just(name),
                st.binary(min_size=ALGORITHMS[name].size, max_size=ALGORITHMS[name].size),
                st.integers(0, 100),
                st.integers(0, len(SIMILARITY_DOUBTS) - 1),
            )
            # What isn't turned has no turn that could be the one it is shown in.
            .map(
                lambda digest: (
                    digest if digest.turn and digest.rendering < RESTORED else digest._replace(shown=False)
                )
            )
        )
    )


@given(some_format)
def test_requests_come_back(picture_format: FileFormat) -> None:
    assert unpack_request(pack_request(picture_format)) == (picture_format, False, 0)
    assert unpack_request(pack_request(picture_format, patient=True)) == (picture_format, True, 0)
    request = pack_request(picture_format, memory_bytes=3 << 30)
    assert unpack_request(request) == (picture_format, False, 3 << 30)


@given(some_algorithms, some_format, st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1), st.data())
def test_pictures_come_back(
    algorithms: list[str], picture_format: FileFormat, width: int, height: int, data: st.DataObject
) -> None:
    digests = [stored(name) for name in algorithms]
    if algorithms:
        digests += data.draw(st.lists(any_variant(algorithms), max_size=20))
    reply = pack_picture(picture_format, width, height, algorithms, runs(digests))
    assert len(reply) == HEADER + sum(HEAD + len(digest.value) for digest in digests)
    answer = unpack_reply(reply, picture_format, algorithms)
    assert answer == DecodedPicture(Picture(picture_format.name, width, height), tuple(runs(digests)))
    assert isinstance(answer, DecodedPicture)
    assert answer.digests == tuple(digests)
    assert answer.stored(algorithms) == {
        name: Digest(name, bytes(range(ALGORITHMS[name].size)), 77 if name == "pdq" else None)
        for name in algorithms
    }


@pytest.mark.parametrize("reason", DECODE_REASONS)
@pytest.mark.parametrize("algorithms", [[], ["pdq"], OF_PICTURES])
def test_failures_come_back(reason: Reason, algorithms: list[str]) -> None:
    assert unpack_reply(pack_failure(reason), JPEG, algorithms) is reason


def test_what_is_beyond_the_limit_is_counted() -> None:
    frames = [stored("pdq")] + [
        stored("pdq")._replace(part=Part(Kind.FRAME, number)) for number in range(1, DIGESTS_MAX + 5)
    ]
    full = pack_picture(JPEG, 640, 480, ["pdq"], runs(frames[:DIGESTS_MAX]))
    over = pack_picture(JPEG, 640, 480, ["pdq"], runs(frames))
    assert len(full) == len(over) < REPLY_MAX <= protocol.REPLY_MAX
    # Quadrants take the place of no other digest.
    both = ["pdq", QUADRANTS]
    more = pack_picture(JPEG, 640, 480, both, runs([frames[0], stored(QUADRANTS), *frames[1:DIGESTS_MAX]]))
    found = unpack_reply(more, JPEG, both)
    assert isinstance(found, DecodedPicture)
    assert (found.damage, len(found.digests), len(more)) == (None, DIGESTS_MAX + 1, REPLY_MAX - 1 - FAULT_MAX)
    answer = unpack_reply(full, JPEG, ["pdq"])
    assert isinstance(answer, DecodedPicture)
    assert (answer.damage, answer.left_out, len(answer.digests)) == (None, 0, DIGESTS_MAX)
    assert unpack_reply(over, JPEG, ["pdq"]) == replace(answer, damage=Reason.TOO_MANY, left_out=5)
    cut = unpack_reply(pack_picture(JPEG, 640, 480, ["pdq"], runs(frames), Reason.TRUNCATED), JPEG, ["pdq"])
    assert cut == replace(answer, damage=Reason.TRUNCATED, left_out=5)


def test_runs_come_back() -> None:
    run = DigestRun(WHOLE, 2, (0, 4, 7), 4, "pdq", bytes(range(96)), 61, 1)
    first, others = run.parted({0})
    assert [*first.digests(), *others.digests()] == list(run.digests())
    assert [(digest.turn, digest.shown) for digest in run.digests()] == [(0, False), (4, True), (7, False)]
    plain = next(runs([stored("pdq")]))
    packed = pack_picture(JPEG, 640, 480, ["pdq"], [plain, run])
    answer = unpack_reply(packed, JPEG, ["pdq"])
    assert isinstance(answer, DecodedPicture)
    assert answer.runs == (plain, run)
    assert packed.endswith(bytes(range(96)))


@pytest.mark.parametrize(
    ("rendering", "number", "last"),
    [
        (RESTORED, len(RESTORATIONS), "restored, rotated 5 degrees counterclockwise"),
        (SECTION, len(SECTIONS), "section, middle at 16:9"),
    ],
)
def test_restorations_and_sections_come_back_and_no_others(rendering: int, number: int, last: str) -> None:
    first = DigestRun(WHOLE, 0, (0,), 0, "pdq", bytes(32), 90, 0)
    restored = DigestRun(WHOLE, rendering, (0, number - 1), 0, "pdq", bytes(range(64)), 90, 0)
    answer = unpack_reply(pack_picture(JPEG, 640, 480, ["pdq"], [first, restored]), JPEG, ["pdq"])
    assert isinstance(answer, DecodedPicture)
    assert answer.runs == (first, restored)
    assert answer.digests[-1].variant == last
    for wrong in (restored._replace(shown=1), restored._replace(turns=(0, number))):
        with pytest.raises((ValueError, struct.error)):
            unpack_reply(pack_picture(JPEG, 640, 480, ["pdq"], [first, wrong]), JPEG, ["pdq"])


def test_a_run_is_cut_where_there_is_no_more_room() -> None:
    many = [
        DigestRun(WHOLE, 0, tuple(range(9)), 0, "pdq", bytes((number,)) * 9 * 32, 61, 1)
        for number in range(DIGESTS_MAX // 9 + 3)
    ]
    answer = unpack_reply(pack_picture(JPEG, 640, 480, ["pdq"], many), JPEG, ["pdq"])
    assert isinstance(answer, DecodedPicture)
    assert answer.left_out == 9 * len(many) - DIGESTS_MAX
    assert answer.digests == tuple(digest for run in many for digest in run.digests())[:DIGESTS_MAX]


def test_long_digests_take_the_room_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["pdq", "photodna"]
    pages = [
        DigestRun(
            Part(Kind.PAGE, page) if page else WHOLE, 0, turns, 0, name, bytes(size * len(turns)), 100, 0
        )
        for page in range(200)
        for name, size, turns in (("pdq", 32, tuple(range(9))), ("photodna", 144, (0, 4)))
    ]
    fit = ROOM // (9 * room_of("pdq") + 2 * room_of("photodna"))
    assert fit > 60
    whole = pack_picture(JPEG, 640, 480, names, pages[: 2 * fit])
    answer = unpack_reply(whole, JPEG, names)
    assert isinstance(answer, DecodedPicture)
    assert (answer.damage, answer.left_out, len(answer.digests)) == (None, 0, 11 * fit)
    most = pack_picture(JPEG, 640, 480, names, pages)
    assert len(whole) < len(most) <= REPLY_MAX
    answer = unpack_reply(most, JPEG, names)
    assert isinstance(answer, DecodedPicture)
    assert answer.damage is Reason.TOO_MANY
    assert len(answer.digests) + answer.left_out == 11 * 200
    few = pack_picture(JPEG, 640, 480, names, pages[:2], Reason.TOO_MANY)
    with pytest.raises(ValueError, match="room"):
        unpack_reply(few[: HEADER - 4] + b"\1\0\0\0" + few[HEADER:], JPEG, names)
    with monkeypatch.context() as patch:
        patch.setattr(records, "ROOM", 2 * ROOM)
        forged = pack_picture(JPEG, 640, 480, names, pages[: 2 * fit + 2])
    with pytest.raises(ValueError, match="wrong length"):
        unpack_reply(forged, JPEG, names)


def test_turns_are_given_once_in_order() -> None:
    for turns in ((4, 0), (1, 1)):
        with pytest.raises(ValueError, match="ascending"):
            pack_picture(JPEG, 9, 9, ["pdq"], [DigestRun(WHOLE, 0, turns, 0, "pdq", bytes(64), 61, 1)])


RUNS = (
    *runs([stored("phash", quality=100), stored("pdq")]),
    DigestRun(WHOLE, 0, (1, 4, 5), 0, "pdq", bytes(range(96)), 77, 0),
)
STARTS = (HEADER, HEADER + HEAD + 8, HEADER + HEAD + 8 + HEAD + 32)
GOOD = pack_picture(JPEG, 640, 480, ["phash", "pdq"], RUNS)


def at(place: int, value: int, *, run: int | None = None) -> bytes:
    """The good reply with another byte in its header or in one of its runs."""
    start = place if run is None else STARTS[run] + place
    return GOOD[:start] + bytes((value,)) + GOOD[start + 1 :]


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        GOOD[:1],
        GOOD[: HEADER - 1],
        GOOD[:-1],
        GOOD + b"\0",
        # More and fewer digests than are there; more than there may be.
        at(10, 6),
        at(10, 4),
        at(10, 2),
        struct.pack("<BBIIHI", 0, 0, 640, 480, DIGESTS_MAX + 1, 0) + GOOD[HEADER:],
        bytes((len(DECODE_REASONS) + 1,)) + bytes(HEADER - 1),
        b"\xff" + bytes(HEADER - 1),
        bytes(HEADER),
        # Another format than was asked for; none that there is.
        at(1, 1),
        at(1, 255),
        # No width; no height; more than any format can hold.
        GOOD[:2] + bytes(4) + GOOD[6:],
        GOOD[:6] + bytes(4) + GOOD[10:],
        GOOD[:2] + b"\0\0\0\x80" + GOOD[6:],
        # Something left out although there was room.
        at(12, 1),
        # A number for what has none; unknown kinds, renderings and turns.
        at(0, 1, run=2),
        at(4, len(Kind), run=2),
        at(5, len(RENDERINGS), run=2),
        at(6, len(TURNS), run=2),
        at(11, 2, run=2),
        # A run of no turn; of one more than there are digests, and of one less.
        at(10, 0, run=2),
        at(10, 0b110011, run=2),
        at(10, 0b010010, run=2),
        # An algorithm that wasn't asked for; one whose digests are shorter.
        at(7, 2, run=2),
        at(7, 0, run=2),
        at(8, 101, run=2),
        at(9, len(SIMILARITY_DOUBTS), run=2),
        # The first runs are not the picture as it is stored, by each algorithm.
        at(5, 1, run=0),
        at(10, 0b10000, run=1),
        at(7, 0, run=1),
        at(4, 1, run=0),
        GOOD[:10] + b"\1\0" + GOOD[12 : STARTS[1]],
    ],
)
def test_replies_that_our_decoder_never_gives(reply: bytes) -> None:
    assert isinstance(unpack_reply(GOOD, JPEG, ["phash", "pdq"]), DecodedPicture)
    with pytest.raises(ValueError, match="reply"):
        unpack_reply(reply, JPEG, ["phash", "pdq"])


@given(
    some_algorithms,
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda status, index, digests, rest: (
                struct.pack("<BBIIHI", status, index, 1, 1, digests, 0) + b"".join(rest)
            ),
            st.integers(0, 3),
            st.integers(0, 1),
            st.integers(0, 4),
            st.lists(
                st.builds(
                    lambda head, bits, rest: bytes(head) + struct.pack("<H", bits) + rest,
                    st.tuples(*[st.integers(0, 3)] * 10),
                    st.integers(0, 1 << 10),
                    st.sampled_from([b"", bytes(8), bytes(32), bytes(64)]),
                ),
                max_size=4,
            ),
        ),
        st.builds(at, st.integers(0, HEAD - 1), st.integers(0, 255), run=st.integers(0, 2)),
    ),
    some_format,
)
def test_any_reply_is_refused_or_makes_sense(
    algorithms: list[str], reply: bytes, picture_format: FileFormat
) -> None:
    try:
        found = unpack_reply(reply, picture_format, algorithms)
    except ValueError:
        return
    if isinstance(found, Reason):
        assert found in DECODE_REASONS
        return
    assert found.picture.format == picture_format.name
    stored = list(found.stored(algorithms))
    # Of a damaged file its first picture may be what is lost.
    assert stored == algorithms or (not stored and found.damage is not None)
    for digest in found.digests:
        assert digest.algorithm in algorithms
        assert len(digest.value) == ALGORITHMS[digest.algorithm].size
        assert 0 <= digest.quality <= 100
        assert digest.variant


@pytest.mark.integration
def test_a_worker_needs_no_decoder_for_this() -> None:
    program = (
        "import sys, hashscan.hashing.records, hashscan.hashing.formats\n"
        "print([name for name in ('PIL', 'numpy', 'imagehash') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("damage", DECODE_REASONS)
def test_a_damaged_picture_has_digests_and_a_reason(damage: Reason) -> None:
    answer = unpack_reply(pack_picture(JPEG, 640, 480, ["pdq"], runs([stored("pdq")]), damage), JPEG, ["pdq"])
    assert isinstance(answer, DecodedPicture)
    assert answer.damage is damage
    assert answer.digests[0].quality == 77
    whole = unpack_reply(pack_picture(JPEG, 640, 480, ["pdq"], runs([stored("pdq")])), JPEG, ["pdq"])
    assert isinstance(whole, DecodedPicture)
    assert whole.damage is None
