from __future__ import annotations

import array
import os
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.sandbox.link import DecoderClosed, DecoderLink, DecoderMisbehaved, DecoderTimeout
from hashscan.sandbox.protocol import LAST, MORE, NONCE_BYTES, REPLY_HEAD_BYTES, ConfinementResult

REPLY_MAX = 4

PARTS = st.one_of(
    st.just("nonce"),
    st.sampled_from((LAST, MORE)),
    st.binary(max_size=40),
    st.binary(min_size=1, max_size=REPLY_MAX),
)
MESSAGES = st.lists(st.tuples(st.lists(PARTS, max_size=3), st.integers(0, 2)), max_size=5)


def pair() -> tuple[DecoderLink, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return DecoderLink(ours, REPLY_MAX, os.getpid()), theirs


def count() -> int:
    return len(os.listdir("/proc/self/fd"))


@given(MESSAGES, st.booleans())
def test_only_one_whole_reply_with_the_nonce_is_taken(
    messages: list[tuple[list[bytes | str], int]], closes: bool
) -> None:
    link, decoder = pair()
    link.send(b"request", 0)
    request, [(_, _, passed)], _, _ = decoder.recvmsg(100, 100)
    os.close(array.array("i", passed)[0])
    assert request[NONCE_BYTES:] == b"request"
    nonce = request[:NONCE_BYTES]
    open_before = count()
    sent: list[tuple[bytes, int]] = []
    for parts, descriptors in messages:
        message = b"".join(nonce if isinstance(part, str) else part for part in parts)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * descriptors))]
        decoder.sendmsg([message], rights if descriptors else [])
        sent.append((message, descriptors))
    if closes:
        decoder.close()
    right = bool(sent) and (
        REPLY_HEAD_BYTES < len(sent[0][0]) <= REPLY_HEAD_BYTES + REPLY_MAX
        and sent[0][0].startswith(nonce + LAST)
        and not sent[0][1]
    )
    if right and not any(message for message, _ in sent[1:2]):
        assert link.receive(time.monotonic()) == sent[0][0][REPLY_HEAD_BYTES:]
    elif not sent and not closes:
        with pytest.raises(DecoderTimeout):
            link.receive(time.monotonic())
    else:
        with pytest.raises((DecoderClosed, DecoderMisbehaved)):
            link.receive(time.monotonic())
    assert count() == open_before - closes
    link.close()
    decoder.close()


def test_replies_come_in_the_order_of_the_requests() -> None:
    link, decoder = pair()
    nonces = []
    for number in range(3):
        link.send(b"%d" % number, 0)
        message, [(_, _, passed)], _, _ = decoder.recvmsg(100, 100)
        os.close(array.array("i", passed)[0])
        nonces.append(message[:NONCE_BYTES])
    for nonce, reply in zip(nonces, (b"a", b"b"), strict=False):
        decoder.send(nonce + LAST + reply)
    assert link.receive(time.monotonic()) == b"a"
    assert link.receive(time.monotonic()) == b"b"
    decoder.send(nonces[1] + LAST + b"b")
    with pytest.raises(DecoderMisbehaved, match="wasn't asked"):
        link.receive(time.monotonic())
    link.close()
    decoder.close()


def test_parts_of_a_reply_have_its_nonce_until_the_last() -> None:
    link, decoder = pair()
    nonces = []
    for _ in range(2):
        link.send(b"", 0)
        message, [(_, _, passed)], _, _ = decoder.recvmsg(100, 100)
        os.close(array.array("i", passed)[0])
        nonces.append(message[:NONCE_BYTES])
    for nonce, mark in ((0, MORE), (0, LAST), (1, MORE), (1, MORE), (0, LAST)):
        decoder.send(nonces[nonce] + mark + b"x")
    assert [link.receive_part(time.monotonic()) for _ in range(3)] == [
        (b"x", False),
        (b"x", True),
        (b"x", False),
    ]
    with pytest.raises(DecoderMisbehaved, match="in parts"):
        link.receive(time.monotonic())
    with pytest.raises(DecoderMisbehaved, match="wasn't asked"):
        link.receive_part(time.monotonic())
    link.close()
    decoder.close()


def test_nonces_differ() -> None:
    link, decoder = pair()
    nonces = set()
    for _ in range(50):
        link.send(b"", 0)
        message, [(_, _, passed)], _, _ = decoder.recvmsg(100, 100)
        os.close(array.array("i", passed)[0])
        nonces.add(message)
    assert len(nonces) == 50
    link.close()
    decoder.close()


def test_idle_until_something_is_said() -> None:
    link, decoder = pair()
    assert link.idle()
    decoder.send(b"x")
    assert not link.idle()
    link.close()
    decoder.close()


def test_not_idle_when_closed() -> None:
    link, decoder = pair()
    decoder.close()
    assert not link.idle()
    with pytest.raises(DecoderClosed):
        link.send(b"", 0)
    link.close()


def test_sending_to_one_that_doesn_t_read_never_blocks() -> None:
    link, decoder = pair()

    def send_much() -> None:
        for _ in range(10_000):
            link.send(b"x" * 4096, 0)

    with pytest.raises(DecoderClosed):
        send_much()
    decoder.close()
    link.close()


def test_hello_longer_than_replies() -> None:
    link, decoder = pair()
    hello = ConfinementResult(7, 0, 38, 1, 0, 2)
    decoder.send(hello.pack())
    assert link.receive_hello(time.monotonic() + 60) == hello
    link.close()
    decoder.close()


def test_waits_no_longer_than_asked() -> None:
    link, decoder = pair()
    link.send(b"", 0)
    begun = time.monotonic()
    with pytest.raises(DecoderTimeout):
        link.receive(begun + 0.05)
    assert time.monotonic() - begun >= 0.05
    link.close()
    decoder.close()
