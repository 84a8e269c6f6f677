"""The records between worker and decoder, of which the worker believes nothing unchecked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.hashing.formats import FORMATS, PictureFormat
from hashscan.hashing.records import (
    DAMAGES,
    FAILURES,
    DecodedPicture,
    pack_failure,
    pack_picture,
    pack_request,
    reply_size,
    unpack_reply,
    unpack_request,
)
from hashscan.model import ALGORITHMS, COMPUTED, Digest, Picture, Reason

OF_PICTURES = [name for name in COMPUTED if ALGORITHMS[name].of_picture]
JPEG = FORMATS[0]

some_algorithms = st.lists(st.sampled_from(OF_PICTURES), unique=True)
some_format = st.sampled_from(FORMATS)


@given(some_format)
def test_requests_come_back(picture_format: PictureFormat) -> None:
    assert unpack_request(pack_request(picture_format)) is picture_format


@given(some_algorithms, some_format, st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1), st.data())
def test_pictures_come_back(
    algorithms: list[str], picture_format: PictureFormat, width: int, height: int, data: st.DataObject
) -> None:
    sizes = [ALGORITHMS[name].size for name in algorithms]
    digests = [(data.draw(st.binary(min_size=n, max_size=n)), data.draw(st.integers(0, 100))) for n in sizes]
    reply = pack_picture(picture_format, width, height, digests)
    assert len(reply) == reply_size(algorithms)
    expected = tuple(
        Digest(name, value, quality if name == "pdq" else None)
        for name, (value, quality) in zip(algorithms, digests, strict=True)
    )
    assert unpack_reply(reply, picture_format, algorithms) == DecodedPicture(
        Picture(picture_format.name, width, height), expected
    )


@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize("algorithms", [[], ["pdq"], OF_PICTURES])
def test_failures_come_back(reason: Reason, algorithms: list[str]) -> None:
    reply = pack_failure(reason, algorithms)
    assert len(reply) == reply_size(algorithms)
    assert unpack_reply(reply, JPEG, algorithms) is reason


GOOD = pack_picture(JPEG, 640, 480, [(bytes(range(32)), 77)])


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\0",
        bytes((len(FAILURES) + 1,)) + bytes(42),
        b"\xff" + bytes(42),
        # A failure that leaves nothing to decode, and yet digests.
        bytes((1 + FAILURES.index(Reason.TOO_LARGE),)) + GOOD[1:],
        # Another format than was asked for; none that there is.
        GOOD[:1] + b"\1" + GOOD[2:],
        GOOD[:1] + b"\xff" + GOOD[2:],
        # No width; no height; more than any format can hold.
        GOOD[:2] + bytes(4) + GOOD[6:],
        GOOD[:6] + bytes(4) + GOOD[10:],
        GOOD[:2] + b"\0\0\0\x80" + GOOD[6:],
        GOOD[:10] + bytes((101,)) + GOOD[11:],
    ],
)
def test_replies_that_our_decoder_never_gives(reply: bytes) -> None:
    assert isinstance(unpack_reply(GOOD, JPEG, ["pdq"]), DecodedPicture)
    with pytest.raises(ValueError, match="reply"):
        unpack_reply(reply, JPEG, ["pdq"])


@given(
    some_algorithms.flatmap(
        lambda algorithms: st.tuples(
            st.just(algorithms),
            st.one_of(
                st.binary(max_size=200),
                st.binary(min_size=reply_size(algorithms), max_size=reply_size(algorithms)),
                st.binary(min_size=reply_size(algorithms) - 1, max_size=reply_size(algorithms) - 1).map(
                    lambda rest: b"\0" + rest
                ),
            ),
        )
    ),
    some_format,
)
def test_any_reply_is_refused_or_makes_sense(
    asked: tuple[list[str], bytes], picture_format: PictureFormat
) -> None:
    algorithms, reply = asked
    try:
        found = unpack_reply(reply, picture_format, algorithms)
    except ValueError:
        return
    if isinstance(found, Reason):
        assert found in FAILURES
        return
    assert found.picture.format == picture_format.name
    assert [digest.algorithm for digest in found.digests] == algorithms
    assert all(len(digest.value) == ALGORITHMS[digest.algorithm].size for digest in found.digests)
    assert all(digest.quality is None or 0 <= digest.quality <= 100 for digest in found.digests)


def test_a_worker_needs_no_decoder_for_this() -> None:
    program = (
        "import sys, hashscan.hashing.records, hashscan.hashing.formats\n"
        "print([name for name in ('PIL', 'numpy', 'imagehash') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_picture_has_digests_and_a_reason(damage: Reason) -> None:
    reply = pack_picture(JPEG, 640, 480, [(bytes(range(32)), 77)], damage)
    answer = unpack_reply(reply, JPEG, ["pdq"])
    assert isinstance(answer, DecodedPicture)
    assert answer.damage is damage
    assert answer.digests[0].quality == 77
    whole = unpack_reply(pack_picture(JPEG, 640, 480, [(bytes(32), 77)]), JPEG, ["pdq"])
    assert isinstance(whole, DecodedPicture)
    assert whole.damage is None
