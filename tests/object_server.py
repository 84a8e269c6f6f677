"""A fast web server that speaks just enough S3 to list and to read, with latency and faults on demand.

Run as a program it serves one bucket, `bucket`, and prints its URL. What is in it follows from `--objects`
(`PREFIX:COUNT:SIZE`, repeatable) and `--file`; a folder's name in a key makes the server misbehave for that
key, see FAULTS and LISTING_FAULTS. It keeps up with thousands of requests a second, which is what it is for:
other servers for tests don't. What S3 means in detail is tested elsewhere, against a server made for that.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import urllib.request
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

FAULTS = {
    "busy2": "503 SlowDown twice, then the object",
    "busy": "503 SlowDown always",
    "broken": "500 InternalError always",
    "cut1": "the connection is cut once, in the middle or after a megabyte",
    "cut": "the connection is cut in the middle always",
    "shut": "the connection is closed without an answer, always",
    "replaced": "another object than was listed: other content, other etag",
    "swapped": "cut in the middle once, and another object afterwards",
    "deleted": "404 NoSuchKey",
    "forbidden": "403 AccessDenied",
    "expired": "400 ExpiredToken",
    "archived": "403 InvalidObjectState",
    "glacier": "listed in the class GLACIER, and 403 InvalidObjectState",
    "restoring": "the same, and said to be on its way back to where asked whether it is",
    "restored": "listed in the class GLACIER, and said to be restored where asked whether it is",
    "shorter": "ten bytes less than listed, under the same etag",
    "stalled": "half of the object, then nothing more",
}
FORMS = {
    "md5": "the ETag is the MD5",
    "kms": "the ETag is 32 other digits, and the object is encrypted by a key of KMS",
    "wrong": "the ETag is 32 other digits",
    "crc": "stored in parts, with a CRC-32 of the whole",
    "flipped1": "one bit differs from what was stored, once",
    "flipped": "one bit differs from what was stored, always",
}
"""Forms of checksums, by folder; other objects count as stored in parts, without any."""
LISTING_FAULTS = {
    "unlistable": "403 AccessDenied",
    "expiring": "400 ExpiredToken after the first page",
    "jamming": "503 SlowDown after the first page",
}
"""Faults of listings by a prefix that ends in such a folder."""

PAGE = 1000
BLOCK = bytes(range(256)) * 4096
STREAMED = 1 << 20
"""Larger bodies are written piece by piece."""


def pattern(key: bytes, size: int) -> list[bytes | memoryview]:
    """The bytes of an object that is no file: its key, and then always the same."""
    parts: list[bytes | memoryview] = [key[:size]]
    left = size - len(parts[0])
    view = memoryview(BLOCK)
    while left > 0:
        parts.append(view[:left])
        left -= len(parts[-1])
    return parts


class Bucket:
    """The stored objects."""

    def __init__(self, groups: list[str], files: list[str]) -> None:
        self.sizes: dict[bytes, int] = {}
        self.contents: dict[bytes, bytes] = {}
        for file in files:
            key, _, path = file.partition(":")
            self.contents[bytes.fromhex(key)] = Path(path).read_bytes()
        self.sizes.update((key, len(content)) for key, content in self.contents.items())
        for group in groups:
            prefix, count, size = group.rsplit(":", 2)
            for number in range(int(count)):
                self.sizes[f"{prefix}{number:06d}".encode()] = int(size)
        self.keys = sorted(self.sizes)

    def body(self, key: bytes, size: int) -> list[bytes | memoryview]:
        if key in self.contents:
            return [self.contents[key][:size]]
        return pattern(key, size)

    def etag(self, key: bytes) -> str:
        folders = key.split(b"/")[:-1]
        if b"md5" in folders:
            return f'"{hashlib.md5(b"".join(self.body(key, self.sizes[key]))).hexdigest()}"'
        if b"kms" in folders or b"wrong" in folders:
            return f'"{hashlib.md5(key).hexdigest()}"'
        return f'"{len(key):x}-{self.sizes[key]:x}"'

    def page(self, asked: dict[str, str], *, restored: bool) -> bytes:
        """The answer to ListObjectsV2; with what was restored where that was asked."""
        prefix = asked.get("prefix", "").encode()
        delimiter = asked.get("delimiter", "").encode()
        after = bytes.fromhex(asked["continuation-token"]) if "continuation-token" in asked else b""
        limit = min(int(asked.get("max-keys", PAGE)), PAGE)
        at = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after) if after else 0)
        contents: list[str] = []
        prefixes: list[str] = []
        last = b""
        while at < len(self.keys) and self.keys[at].startswith(prefix):
            if len(contents) + len(prefixes) == limit:
                break
            key = self.keys[at]
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end >= 0:
                common = key[: end + len(delimiter)]
                prefixes.append(f"<CommonPrefixes><Prefix>{quote(common)}</Prefix></CommonPrefixes>")
                last = common + b"\xff"
                at = bisect_left(self.keys, last)
                continue
            glacial = any(part in key for part in (b"glacier/", b"restoring/", b"restored/"))
            storage = "GLACIER" if glacial else "STANDARD"
            status = ""
            if restored and b"restor" in key:
                going_on = "true" if b"restoring/" in key else "false"
                status = (
                    f"<RestoreStatus><IsRestoreInProgress>{going_on}</IsRestoreInProgress></RestoreStatus>"
                )
            contents.append(
                f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
                f"<ETag>{self.etag(key).replace(chr(34), '&quot;')}</ETag><Size>{self.sizes[key]}</Size>"
                f"<StorageClass>{storage}</StorageClass>{status}</Contents>"
            )
            for folder, algorithm in ((b"crc/", "CRC32"), (b"sha/", "SHA256")):
                if folder in key:
                    part = f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm>"
                    part += "<ChecksumType>FULL_OBJECT</ChecksumType>"
                    contents[-1] = contents[-1].replace("<Size>", f"{part}<Size>")
            last = key
            at += 1
        more = at < len(self.keys) and self.keys[at].startswith(prefix)
        token = f"<NextContinuationToken>{last.hex()}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><Prefix>{quote(prefix)}</Prefix><EncodingType>url</EncodingType>"
            f"<KeyCount>{len(contents) + len(prefixes)}</KeyCount><MaxKeys>{limit}</MaxKeys>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}"
            f"{''.join(contents)}{''.join(prefixes)}</ListBucketResult>"
        ).encode()


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, bucket: Bucket, latency: float, counts: Counter[str], tries: Counter[bytes]) -> None:
        self.bucket = bucket
        self.latency = latency
        self.counts = counts
        self.tries = tries
        self.waiting = b""
        self.writable = asyncio.Event()
        self.writable.set()
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        # A client waits for one answer before it asks again.
        if b"\r\n\r\n" in self.waiting:
            request, self.waiting = self.waiting, b""
            self.counts["under way"] += 1
            self.counts["most at a time"] = max(self.counts["most at a time"], self.counts["under way"])
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self.serve, request)
            else:
                self.serve(request)

    def serve(self, request: bytes) -> None:
        self.counts["under way"] -= 1
        self.counts["requests"] += 1
        head, *lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
        method, target, _ = head.split(b" ")
        path, _, query = target.partition(b"?")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
        }
        self.counts["signed"] += b"authorization" in headers
        _, _, key = unquote_to_bytes(path.removeprefix(b"/")).partition(b"/")
        if path == b"/statistics":
            self.answer(200, json.dumps(self.counts).encode())
        elif not path.startswith(b"/bucket"):
            self.refuse(404, "NoSuchBucket")
        elif key:
            self.counts["reads"] += 1
            self.read(method, key, headers)
        elif method == b"HEAD":
            self.answer(200, b"", extra="x-amz-bucket-region: us-east-1\r\n")
        else:
            self.counts["lists"] += 1
            wanted = headers.get(b"x-amz-optional-object-attributes", b"")
            asked = dict(parse_qsl(query.decode(), keep_blank_values=True))
            folders = asked.get("prefix", "").split("/")[:-1]
            if "unlistable" in folders:
                self.refuse(403, "AccessDenied")
            elif "expiring" in folders and "continuation-token" in asked:
                self.refuse(400, "ExpiredToken")
            elif "jamming" in folders and "continuation-token" in asked:
                self.refuse(503, "SlowDown")
            else:
                self.answer(200, self.bucket.page(asked, restored=b"RestoreStatus" in wanted))

    def answer(self, status: int, content: bytes, extra: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n{extra}\r\n"
        self.transport.write(head.encode() + content)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'.encode())

    def read(self, method: bytes, key: bytes, headers: dict[bytes, bytes]) -> None:
        size = self.bucket.sizes.get(key)
        folders = set(key.decode(errors="replace").split("/")[:-1])
        self.tries[key] += 1
        first = self.tries[key] == 1
        etag = self.bucket.etag(key) if size is not None else ""
        if size is None or "deleted" in folders:
            self.refuse(404, "NoSuchKey")
            return
        if "busy" in folders or ("busy2" in folders and self.tries[key] <= 2):
            self.refuse(503, "SlowDown")
            return
        if "broken" in folders:
            self.refuse(500, "InternalError")
            return
        for folder, status, code in (
            ("forbidden", 403, "AccessDenied"),
            ("expired", 400, "ExpiredToken"),
            ("archived", 403, "InvalidObjectState"),
            ("glacier", 403, "InvalidObjectState"),
            ("restoring", 403, "InvalidObjectState"),
        ):
            if folder in folders:
                self.refuse(status, code)
                return
        if "shut" in folders:
            self.transport.close()
            return
        if "replaced" in folders or ("swapped" in folders and not first):
            etag = '"another"'
        if "shorter" in folders:
            size -= 10
        if headers.get(b"if-match", etag.encode()).strip(b'"') != etag.encode().strip(b'"'):
            self.refuse(412, "PreconditionFailed")
            return
        start = 0
        status = 200
        extra = f"ETag: {etag}\r\nLast-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\nAccept-Ranges: bytes\r\n"
        if "kms" in folders:
            extra += "x-amz-server-side-encryption: aws:kms\r\n"
        if folders & {"crc", "sha"} and headers.get(b"x-amz-checksum-mode") == b"ENABLED":
            content = b"".join(self.bucket.body(key, size))
            name, digest = "sha256", hashlib.sha256(content).digest()
            if "crc" in folders:
                name, digest = "crc32", zlib.crc32(content).to_bytes(4)
            extra += f"x-amz-checksum-{name}: {base64.b64encode(digest).decode()}\r\n"
            extra += "x-amz-checksum-type: FULL_OBJECT\r\n"
        if b"range" in headers:
            begin, _, end = headers[b"range"].removeprefix(b"bytes=").partition(b"-")
            start, stop = int(begin), min(int(end) + 1, size) if end else size
            status = 206
            extra += f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n"
        else:
            stop = size
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {stop - start}\r\n{extra}\r\n".encode()
        if method == b"HEAD":
            self.transport.write(head)
            return
        half = start + min((stop - start) // 2, STREAMED)
        if "cut" in folders or (folders & {"cut1", "swapped"} and first):
            self.transport.write(head + b"".join(self.bucket.body(key, half))[start:])
            self.transport.close()
        elif "stalled" in folders:
            self.transport.write(head + b"".join(self.bucket.body(key, half))[start:])
        elif stop > STREAMED:
            task = asyncio.get_running_loop().create_task(self.stream(head, key, start, stop))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif start:
            self.transport.write(head + b"".join(self.bucket.body(key, stop))[start:])
        else:
            content = b"".join(self.bucket.body(key, stop))
            if "flipped" in folders or ("flipped1" in folders and first):
                content = content[:-1] + bytes((content[-1] ^ 4,))
            self.transport.write(head + content)

    async def stream(self, head: bytes, key: bytes, start: int, stop: int) -> None:
        """Write a large body as fast as the client takes it."""
        self.transport.write(head)
        # Its first piece holds the key, or the whole of a file; all others are the block.
        at = 0
        pieces = iter((self.bucket.contents.get(key, key), memoryview(BLOCK)))
        piece: bytes | memoryview = next(pieces)
        while at < stop and not self.transport.is_closing():
            used = piece[max(start - at, 0) : stop - at]
            if used:
                self.transport.write(used)
                await self.writable.wait()
            at += len(piece)
            piece = memoryview(BLOCK)


async def serve(bucket: Bucket, latency: float, *, until_eof: bool) -> None:
    counts: Counter[str] = Counter()
    tries: Counter[bytes] = Counter()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(bucket, latency, counts, tries), "127.0.0.1", 0, backlog=1024
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
    if until_eof:
        # However whoever started it ends, it ends as well.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.close()
    else:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", action="append", default=[], metavar="PREFIX:COUNT:SIZE")
    parser.add_argument("--file", action="append", default=[], metavar="KEY_IN_HEX:PATH")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--until-eof", action="store_true", help="end with standard input")
    options = parser.parse_args()
    asyncio.run(serve(Bucket(options.objects, options.file), options.latency, until_eof=options.until_eof))


@contextmanager
def object_server(
    *objects: str, files: Mapping[bytes, Path] = MappingProxyType({}), latency: float = 0.0
) -> Iterator[str]:
    """Run the server in a process of its own; gives its URL.

    Args:
        objects: `PREFIX:COUNT:SIZE`.
        files: by key, what is to be served as an object.
        latency: seconds before every answer.
    """
    command: list[str | Path] = [sys.executable, Path(__file__), "--latency", str(latency)]
    for group in objects:
        command += ["--objects", group]
    for key, path in files.items():
        command += ["--file", f"{key.hex()}:{path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def statistics(url: str) -> dict[str, int]:
    """Return the server's counters."""
    with urllib.request.urlopen(f"{url}/statistics") as answer:
        found: dict[str, int] = json.load(answer)
        return found


if __name__ == "__main__":
    main()
