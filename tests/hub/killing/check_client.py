"""A client that asks a hub about digests, and may be killed at any time; run it by its path.

    check_client.py FOLDER PORT KEY

FOLDER/listed       digests that the hub's list has, as JSON: by algorithm, in hexadecimal
FOLDER/pending      the request that is sent, by the same key, until it is acknowledged
FOLDER/acknowledged a line of JSON for each request that was
FOLDER/trouble      an answer that no client may get
FOLDER/stop         if it is there, nothing new is asked

It needs the standard library alone, so that it starts quickly.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import secrets
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

_DIGESTS_MAX = 200
_OF_PROXY = {502, 504}
"""Statuses of a load balancer whose node is killed while it answers."""


def new_request(listed: dict[str, list[str]]) -> dict[str, Any]:
    """Return a request, with the numbers by which it is to be counted."""
    asked = {
        name: random.sample(values, random.randrange(len(values) + 1)) for name, values in listed.items()
    }
    others = {"sha1": random.randrange(_DIGESTS_MAX), "pdq": random.randrange(3)}
    sizes = {"sha1": 20, "pdq": 32}
    digests = [
        {"algorithm": name, "value": value}
        for name, size in sizes.items()
        for value in [*asked[name], *(random.randbytes(size).hex() for _ in range(others[name]))]
    ]
    random.shuffle(digests)
    return {
        "key": secrets.token_hex(16),
        "digests": digests,
        "exact": len(asked["sha1"]) + others["sha1"],
        "perceptual": len(asked["pdq"]) + others["pdq"],
        "detected": sum(map(len, asked.values())),
    }


def store(path: Path, request: dict[str, Any]) -> None:
    """Write a request, all or nothing."""
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(request))
    aside.replace(path)


def send(request: dict[str, Any], port: int, key: str) -> tuple[int, str, bytes]:
    """Send a request once; return status, `Retry-After` and body of the answer; status 0 if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": request["key"]}
    with suppress(OSError, http.client.HTTPException), closing(connection):
        connection.request("POST", "/v1/check", json.dumps({"digests": request["digests"]}), headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Retry-After", ""), answer.read()
    return 0, "", b""


def main() -> None:
    """Ask until told to stop."""
    folder, port, key = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    pending, acknowledged = folder / "pending", folder / "acknowledged"
    listed = json.loads((folder / "listed").read_text())
    while True:
        if pending.exists():
            request = json.loads(pending.read_text())
        elif (folder / "stop").exists():
            return
        else:
            request = new_request(listed)
        request["tries"] = request.get("tries", 0) + 1
        store(pending, request)
        status, wait, body = send(request, port, key)
        if status == 200:
            found = {match["digest"] for match in json.loads(body)["matches"]}
            if len(found) != request["detected"]:
                (folder / "trouble").write_text(f"{len(found)} of {request['detected']} detected")
                return
            line = {name: value for name, value in request.items() if name != "digests"}
            with acknowledged.open("ab", buffering=0) as stream:
                os.write(stream.fileno(), json.dumps(line).encode() + b"\n")
            pending.unlink()
            time.sleep(random.uniform(0, 0.5))
        elif status and status not in _OF_PROXY and (status != 503 or not wait):
            (folder / "trouble").write_text(f"status {status}: {body[:200]!r}")
            return
        else:
            time.sleep(random.uniform(0.05, 0.3))


if __name__ == "__main__":
    main()
