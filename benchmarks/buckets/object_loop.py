"""Download objects by obstore and digest them in one loop, the minimum of a scan; `objects.py` times it.

    python benchmarks/buckets/object_loop.py URL AT_A_TIME [PREFIX]

Lists the bucket `bucket` of the service at URL through obstore, or what is in it under a prefix, downloads
every object with so many requests at a time, and computes md5, sha1 and sha256 of each. Prints a JSON line:
how many objects there were, and the seconds and processor seconds it took; what the process took beyond that
is its start-up.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import obstore
from obstore.store import S3Store


def digest(content: memoryview) -> None:
    """Compute the digests that every scan computes of a file's bytes."""
    hashlib.md5(content, usedforsecurity=False).digest()
    hashlib.sha1(content, usedforsecurity=False).digest()
    hashlib.sha256(content).digest()


def main() -> None:
    """Download and digest everything."""
    url, at_a_time, prefix = sys.argv[1], int(sys.argv[2]), "".join(sys.argv[3:4])
    start, cpu = time.monotonic(), time.process_time()
    store = S3Store(
        "bucket",
        endpoint=url,
        region="us-east-1",
        access_key_id="benchmark",
        secret_access_key="benchmark",
        client_options={"allow_http": True},
    )

    def download(path: str) -> memoryview:
        return memoryview(obstore.get(store, path).bytes())

    files = 0
    under_way: deque[Future[memoryview]] = deque()
    # Threads, since obstore's way with asyncio is a third slower.
    with ThreadPoolExecutor(at_a_time) as crew:
        for page in obstore.list(store, prefix or None, chunk_size=1000):
            for found in page:
                under_way.append(crew.submit(download, found["path"]))
                if len(under_way) > 2 * at_a_time:
                    digest(under_way.popleft().result())
                    files += 1
        for future in under_way:
            digest(future.result())
            files += 1
    took = {"seconds": time.monotonic() - start, "cpu": time.process_time() - cpu}
    print(json.dumps({"files": files, **took}))


if __name__ == "__main__":
    main()
