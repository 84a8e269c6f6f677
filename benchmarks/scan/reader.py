"""Read files from disk or from the page cache, and print the speed; `neighbour.py` starts it.

    python reader.py warm|cold SECONDS FILE...

`warm` reads 64 KiB at random places of files that are in memory. `cold` reads files from beginning to end,
each after it was taken out of memory. It prints JSON: bytes and seconds.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

PIECE = {"warm": 64 << 10, "cold": 1 << 20}


def main() -> int:
    """Read until the time is over."""
    way, seconds, *names = sys.argv[1:]
    piece = PIECE[way]
    buffer = bytearray(piece)
    files = [(os.open(name, os.O_RDONLY), os.stat(name).st_size) for name in names]
    places = random.Random(1)
    for file, size in files if way == "warm" else ():
        for offset in range(0, size, piece):
            os.preadv(file, [buffer], offset)
    read = number = offset = 0
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + float(seconds):
        file, size = files[number % len(files)]
        if way == "warm":
            number += 1
            offset = places.randrange(max(1, size - piece))
        elif offset == 0:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        count = os.preadv(file, [buffer], offset)
        read += count
        if way == "cold":
            offset += count
            if not count or offset >= size:
                number, offset = number + 1, 0
    print(json.dumps({"bytes": read, "seconds": now - begun}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
