"""Drawings (SVG) of shapes, by features that renderers draw in different ways."""

from __future__ import annotations

from collections.abc import Iterator

_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_GRADIENT = (
    '<linearGradient id="g"><stop stop-color="red"/><stop offset="1" stop-color="blue"/></linearGradient>'
)
_RECT = '<rect x="10" y="10" width="150" height="120" fill="url(#g)"'
_MASK = '<mask id="m"><rect width="100%" height="100%" fill="white"/><circle cx="80" cy="80" r="40"/></mask>'

_BODIES = {
    "gradient": f"{_GRADIENT}{_RECT}/>",
    "dashes": ""
    '<path d="M10 10h150v100" fill="none" stroke="black" stroke-width="5%" stroke-dasharray="10%"/>',
    "marker": ""
    '<marker id="m" viewBox="0 0 10 10" markerWidth="9" markerHeight="9" refX="5" orient="auto">'
    '<path d="M0 0L10 5L0 10z" fill="red"/></marker>'
    ""
    '<path d="M30 30L100 100L150 30" stroke="black" stroke-width="4" fill="none" marker-mid="url(#m)"/>',
    "pattern": ""
    '<pattern id="g" width="20" height="20" patternUnits="userSpaceOnUse" patternTransform="rotate(30)">'
    f'<rect width="10" height="10" fill="red"/></pattern>{_RECT}/>',
    "mask": f'{_MASK}{_GRADIENT}{_RECT} mask="url(#m)"/>',
    "mask-twice": f'<mask id="n" mask="url(#m)"><rect width="90" height="90"/>'
    f'</mask>{_MASK}{_RECT} mask="url(#n)"/>',
    "clip": '<clipPath id="c" clipPathUnits="objectBoundingBox">'
    '<circle cx=".5" cy=".5" r=".5"/></clipPath>'
    f'{_GRADIENT}{_RECT} clip-path="url(#c)"/>',
    "blur": f'<filter id="f"><feGaussianBlur stdDeviation="8"/>'
    f'</filter>{_GRADIENT}{_RECT} filter="url(#f)"/>',
    "blend": f""
    f'<rect width="100" height="160" fill="orange"/>{_GRADIENT}{_RECT} style="mix-blend-mode:screen"/>',
    "nested": ""
    '<svg x="20" y="20" width="50%" height="50%" viewBox="0 0 10 20" preserveAspectRatio="xMaxYMin slice">'
    '<circle r="10" cx="5" cy="5" fill="red"/></svg>',
    "symbol": '<symbol id="s" viewBox="0 0 10 10"><circle r="7" cx="5" cy="5" fill="red"/></symbol>'
    '<use href="#s" x="10" y="10" width="100" height="50"/>',
    "styles": "<style>.a.b{fill:red}.a{fill:blue}g>.c{fill:lime}</style>"
    '<rect class="b a" width="50" height="100"/>'
    '<g><rect x="60" class="c" width="50" height="100"/></g>',
    "units": '<rect x="1mm" y="1pc" width="1in" height="60pt"/>',
    "media": f"<style>@media screen {{ rect {{ opacity: 0 }} }}</style>{_GRADIENT}{_RECT}/>",
    "set": f'{_GRADIENT}{_RECT} display="none">'
    f'<set attributeName="display" to="inline" begin="0.1s"/></rect>',
}


def files() -> Iterator[tuple[str, bytes]]:
    """Yield the files."""
    for name, body in _BODIES.items():
        yield f"{name}.svg", f'<svg {_NAMESPACE} width="200" height="160">{body}</svg>'.encode()
    yield "cut.svg", f'<svg {_NAMESPACE} width="200" height="160">{_GRADIENT}{_RECT}/>'.encode()
    yield "no-namespace.svg", b'<svg width="200" height="160"><rect width="99" height="99"/></svg>'
    yield "no-size.svg", f'<svg {_NAMESPACE} viewBox="0 0 200 100">{_GRADIENT}{_RECT}/></svg>'.encode()
