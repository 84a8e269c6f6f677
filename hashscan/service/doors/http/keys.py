"""Keep the keys of HTTP clients: rights, owner, rate limit and expiry, each with the key's SHA-256 alone.

A key has 256 random bits, so that its SHA-256 can't be searched for, and needs neither salt nor stretching.
The server reads the file again whenever it has changed: a revoked key is refused from then on. A file that
can't be used admits nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from hashscan.atomic_files import PRIVATE_FILE, output_errors, replacing
from hashscan.errors import UsageError
from hashscan.locking import flock_file
from hashscan.schema import InvalidDocumentError, decode_file, encode_file
from hashscan.secret_files import read_secret, stamp_of
from hashscan.timefmt import format_utc, parse_utc, utc_now

log = logging.getLogger(__name__)

Right = Literal["scan", "check", "lists", "metrics"]
RIGHTS: tuple[Right, ...] = get_args(Right)

PREFIX = "hashscan_"
"""Beginning of every key, so that searches for leaked secrets find it."""
FILE_MAX = 4 << 20
"""Largest file of keys in bytes, for some 15,000 keys."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""A name of a key or of an owner."""
_NAME = Annotated[str, Meta(pattern=rf"\A(?:{NAME.pattern})?\Z")]
_WHAT = "the file of keys"
_GROUP_FILE = 0o640


class Key(Struct, frozen=True):
    """One key, without the key itself."""

    name: _NAME
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    """SHA-256 of the key, in hex."""
    rights: tuple[Right, ...]
    owner: _NAME
    """Owner of all that is sent with this key; if empty, each request is an owner of its own."""
    requests_per_second: Annotated[float, Meta(ge=0)]
    """Largest rate of requests; 0 for any."""
    expires: str
    """RFC 3339; empty for never."""
    made: str
    """RFC 3339."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a key has no name")
        if self.expires:
            parse_utc(self.expires)

    def is_expired(self, now: datetime) -> bool:
        return bool(self.expires) and parse_utc(self.expires) <= now


class _Document(Struct, frozen=True):
    keys: tuple[Key, ...]

    def __post_init__(self) -> None:
        for values in ([key.name for key in self.keys], [key.sha256 for key in self.keys]):
            if len(set(values)) != len(values):
                raise ValueError("two keys are the same")


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file.

    Raises:
        UsageError: it is missing, readable by others, or not valid.
    """
    data = read_secret(path, _WHAT, FILE_MAX)
    try:
        return decode_file(data, _Document).keys
    except InvalidDocumentError as error:
        raise UsageError(
            f"{_WHAT}: {path} is not valid: {error}",
            advice="Put back a copy, or remove it and make new keys with `hashscan keys add`.",
        ) from None


@contextmanager
def changing(path: Path, group: int | None = None) -> Iterator[list[Key]]:
    """Yield the list of keys, and replace the file by what the body makes of it; a missing file has none.

    Args:
        group: number of the group that may read a new file, beside its owner.

    Raises:
        UsageError: as for `read_keys`.
        OutputError: it can't be written.
    """
    with output_errors(f"{path} can't be written"), flock_file(path.with_name(f"{path.name}.lock")):
        keys = list(read_keys(path)) if os.path.lexists(path) else []
        yield keys
        with replacing(path, PRIVATE_FILE) as stream:
            stream.write(encode_file(_Document(tuple(keys))))
            try:
                before = path.stat()
            except FileNotFoundError:
                if group is not None:
                    os.fchown(stream.fileno(), -1, group)
                    os.fchmod(stream.fileno(), _GROUP_FILE)
            else:
                os.fchown(stream.fileno(), before.st_uid, before.st_gid)
                os.fchmod(stream.fileno(), before.st_mode & 0o777)


def make_key(
    name: str, rights: tuple[Right, ...], owner: str, requests_per_second: float, expires: datetime | None
) -> tuple[str, Key]:
    """Return a new key, to be shown once, and what is kept of it.

    Raises:
        UsageError: a name or the rate is not valid.
    """
    if not 0 <= requests_per_second < math.inf:
        raise UsageError("the rate is not a number of requests per second", advice="Write one such as 2.5.")
    for text in (name, owner or name):
        if not NAME.fullmatch(text):
            raise UsageError(
                f"{text!r} is not a valid name of a key or owner",
                advice="Use up to 64 letters, digits, dots, hyphens and underscores.",
            )
    secret = PREFIX + secrets.token_urlsafe(32)
    ends = "" if expires is None else format_utc(expires)
    return secret, Key(name, digest_of(secret), rights, owner, requests_per_second, ends, utc_now())


def digest_of(secret: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class RequestLimiter:
    """Token buckets by name, such as a key's digest or a client's address; threads may share it.

    It counts for this process alone, and keeps the names that were used last.
    """

    def __init__(self, names_max: int = 20_000) -> None:
        self._names_max = names_max
        self._changing = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By name: the requests that were left, and when."""

    def wait_seconds(self, name: str, per_second: float, most: float, now: float) -> float:
        """Count a request and return 0.0; or return the seconds after which it may come again.

        Args:
            per_second: rate at which further requests are admitted.
            most: requests that may come at once.
            now: monotonic time in seconds.
        """
        with self._changing:
            left, at = self._left.pop(name, (most, now))
            left = min(most, left + max(0.0, now - at) * per_second)
            admitted = left >= 1.0
            self._left[name] = (left - 1.0 if admitted else left, now)
            if len(self._left) > self._names_max:
                self._left.popitem(last=False)
        return 0.0 if admitted else (1.0 - left) / per_second


class Keys:
    """The keys that a server accepts; they follow the file."""

    def __init__(self, path: Path) -> None:
        """Read the file."""
        self._path = path
        self._limiter = RequestLimiter()
        self._stamp = stamp_of(self._path)
        self._keys: dict[str, Key] = {key.sha256: key for key in read_keys(path)}

    def find(self, secret: str) -> Key | None:
        """Return the valid key that a client has sent; None if there is none."""
        self._follow()
        digest = digest_of(secret)
        key = self._keys.get(digest)
        # The dictionary compares in varying time, but only digests, whose preimages nobody can choose.
        if key is None or not hmac.compare_digest(key.sha256, digest) or key.is_expired(datetime.now(UTC)):
            return None
        return key

    def wait(self, key: Key) -> int:
        """Count a request of a key and return 0; or return the whole seconds to wait before the next one."""
        if not key.requests_per_second:
            return 0
        rate = key.requests_per_second
        wait = self._limiter.wait_seconds(f"{key.sha256} {rate}", rate, max(1.0, rate), time.monotonic())
        return math.ceil(wait)

    def _follow(self) -> None:
        """Read the file if it has changed; one that is unusable is tried again by every request."""
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return
        keys = {key.sha256: key for key in read_keys(self._path)}
        log.info("the file of keys has changed; %d keys", len(keys))
        self._keys, self._stamp = keys, stamp
