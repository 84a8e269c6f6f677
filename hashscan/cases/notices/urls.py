"""Find the web addresses in the text of a mail, as people write and mail programs break them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from hashscan.cases.notices import fields

_SCHEME = r"h(?:tt|xx|\*\*|XX)ps?(?:\[:\]|:)//"
_BRACKETED = re.compile(rf"<\s*(?:URL:)?({_SCHEME}[^<>]{{1,{fields.URL_MAX}}})>", re.IGNORECASE)
"""RFC 3986, appendix C: within angle brackets, line breaks are no part of the address."""
_PLAIN = re.compile(rf"{_SCHEME}[^\s<>\"]{{1,{fields.URL_MAX}}}", re.IGNORECASE)
_QUOTE = re.compile(r"^[ \t]*(?:>[ \t]?)+", re.MULTILINE)
_TRAILING = ".,;:!?'*_|`"
_CLOSING_MAX = 16
_BROKEN_AT = 60
"""Shortest line, in characters, that a mail program breaks within a word."""
_WORD = re.compile(r"[A-Za-z]{1,20}[.,:;!?]?", re.ASCII)
_GOES_ON = re.compile(r"[!-;=?-~]+", re.ASCII)


def unquoted(text: str) -> str:
    """Return a text without the marks of quoted lines."""
    return _QUOTE.sub("", text)


def urls_of(text: str) -> Iterator[str]:
    """Yield the web addresses of http and https in a text, in their order, each once; `hxxp`, `[.]` and the
    like are restored.

    An address that reaches the end of a long line goes on in the next one, unless that begins with a plain
    word; then both forms are yielded.
    """
    seen: set[str] = set()
    text = unquoted(text)
    for form in _forms(text):
        try:
            url = fields.url(_refanged(form))
        except fields.FieldError:
            continue
        if url not in seen:
            seen.add(url)
            yield url


def _forms(text: str) -> Iterator[str]:
    bracketed = {found.start(1): found for found in _BRACKETED.finditer(text)}
    end = 0
    for found in _PLAIN.finditer(text):
        if found.start() < end:
            continue
        if (whole := bracketed.get(found.start())) is not None:
            end = whole.end()
            yield "".join(whole[1].split())
            continue
        end = found.end()
        rest = _continuation(text, found.end(), found[0])
        if not rest:
            yield _trimmed(found[0])
            continue
        if _WORD.fullmatch(rest):
            yield _trimmed(found[0])
        end += len(rest)
        yield _trimmed(found[0] + rest)


def _continuation(text: str, end: int, url: str) -> str:
    """Return the beginning of the next line if it may continue an address that ends at a long line's end."""
    if text[end : end + 1] != "\n" or url[-1] in ",;!)" or end < _BROKEN_AT:
        return ""
    if "\n" in text[end - _BROKEN_AT : end]:
        return ""
    found = _GOES_ON.match(text, end + 1)
    if found is None or _PLAIN.match(found[0]) or "://" in found[0]:
        return ""
    return found[0]


def _trimmed(url: str) -> str:
    """Return an address without the punctuation of the sentence around it."""
    for _ in range(_CLOSING_MAX):
        url = url.rstrip(_TRAILING)
        for opening, closing in ("()", "[]", "{}"):
            if url.endswith(closing) and url.count(closing) > url.count(opening):
                url = url[:-1]
                break
        else:
            break
    return url


def _refanged(url: str) -> str:
    scheme, _, rest = url.partition("//")
    secure = "s" if scheme.lower().rstrip(":[]").endswith("s") else ""
    host, slash, tail = rest.partition("/")
    for dot in ("[.]", "(.)", "{.}", "[dot]", "(dot)"):
        host = host.replace(dot, ".")
    return f"http{secure}://{host}{slash}{tail}"


class _Text(HTMLParser):
    """Collects the text and the links of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append("\n" if tag in {"br", "p", "div", "tr", "li", "td"} else "")
        self.parts.extend(
            f" <{value}> "
            for name, value in attrs
            if name == "href" and value and value.lower().startswith("h") and "<" not in value
        )

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of_html(page: str) -> str:
    """Return the text of an HTML mail with the targets of its links in angle brackets."""
    reader = _Text()
    reader.feed(page)
    reader.close()
    return "".join(reader.parts)
