"""Ask Chromium which files it shows as pictures, and what it draws of them."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.browser import chromium
from tests.web import send, serving

PAGE = Path(__file__).with_name("drawing.html")
TOGETHER = 8
"""Number of files that the page is asked for at a time."""


class Layer(NamedTuple):
    """A picture as drawn."""

    what: str
    """Name: `picture over white`, `frame 2 over black`."""
    luma: NDArray[np.uint8]
    """Brightness, shape (height, width)."""


class Shown(NamedTuple):
    """A file as Chromium shows it."""

    width: int
    """Width in pixels; 0 if it is not shown."""
    height: int
    layers: tuple[Layer, ...]


def draw_all(paths: Sequence[Path]) -> Iterator[Shown]:
    """Yield what Chromium draws of each file, in order: the picture, and the first frames of an animation."""
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as server, chromium() as browser:
        folder = Path(name)
        (folder / "page").symlink_to(PAGE)
        links = []
        for number, path in enumerate(paths):
            link = folder / f"{number}{'.svg' if path.suffix.lower() == '.svg' else ''}"
            link.symlink_to(path.resolve())
            links.append(link.name)

        def send_typed(kind: str) -> Any:
            # The types that Chromium does not tell by the content.
            def answer(request: BaseHTTPRequestHandler) -> None:
                send(request, (folder / request.path[1:]).read_bytes(), headers={"Content-Type": kind})

            return answer

        server.answers |= {"/page": send_typed("text/html"), ".svg": send_typed("image/svg+xml")}
        page = browser.new_page()
        page.goto(f"{server.url}page")
        for start in range(0, len(links), TOGETHER):
            urls = [f"/{link}" for link in links[start : start + TOGETHER]]
            # One after another, as large pictures would fill the memory.
            for found in page.evaluate(
                "async (urls) => { const all_of = []; for (const url of urls) all_of.push(await all(url));"
                " return all_of; }",
                urls,
            ):
                yield _unpacked(found)


def _unpacked(found: dict[str, Any]) -> Shown:
    layers = tuple(
        Layer(
            layer["what"],
            np.frombuffer(base64.b64decode(layer["luma"]), np.uint8).reshape(layer["height"], layer["width"]),
        )
        for layer in found["layers"]
    )
    return Shown(found["width"], found["height"], layers)
