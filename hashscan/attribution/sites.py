"""Map web addresses to files and files to web addresses, by the rules of the settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from os import fsencode
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from hashscan.attribution.path_patterns import component, parts_of, read_path
from hashscan.errors import UsageError
from hashscan.model import SiteRule
from hashscan.settings.table_rows import InvalidValueError, Reader, read_row, rows_of
from hashscan.sources.filesystem.safe_open import LIST_FLAGS, open_absolute, stat_absolute
from hashscan.sources.filesystem.targets import resolve_admin_links
from hashscan.web_address import DEFAULT_PORTS, split_url

ADDRESS_MAX = 8192
"""Maximum characters of an address; a path has 4,096 bytes at most, and most of those need no escape."""
_HOST_MAX = 253
_LABELS = re.compile(
    r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*", re.ASCII
)
_LITERAL = "!$&'()*+,;=:@~"
"""Characters that need no escape in a path, besides letters, digits and `-._`."""


class Address(NamedTuple):
    """A web address without the parts that don't identify a file: user, query, fragment."""

    scheme: str
    host: str
    """In lower case; names in other scripts in their ASCII form."""
    port: int | None
    """None for the scheme's default port."""
    parts: tuple[bytes, ...]
    """Components of the path, unescaped; none is `.` or `..`, and none holds a slash or a zero byte."""


def parse_address(url: str) -> Address | None:
    """Parse an address of http or https; return None for anything else, however hostile."""
    if len(url) > ADDRESS_MAX:
        return None
    # Browsers do this before they parse an address.
    url = url.strip().replace("\\", "/")
    if not url.isprintable():
        return None
    try:
        split = split_url(url.encode("utf-8"))
    except ValueError:
        return None
    if split.scheme not in DEFAULT_PORTS:
        return None
    host = host_of(split.host.strip("[]"))
    parts = _parts(split.path)
    if host is None or parts is None:
        return None
    port = None if split.port == DEFAULT_PORTS[split.scheme] else split.port
    return Address(split.scheme, host, port, parts)


def host_of(name: str) -> str | None:
    """Return a host's name in the one form in which it is compared, or None where it is no such name."""
    name = name.removesuffix(".").lower()
    if not name.isascii():
        if len(name) > _HOST_MAX:
            return None
        try:
            name = name.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return None
    if ":" in name:
        return f"[{name}]"
    return name if len(name) <= _HOST_MAX and _LABELS.fullmatch(name) else None


def _parts(path: bytes) -> tuple[bytes, ...] | None:
    found: list[bytes] = []
    pieces = path.removeprefix(b"/").split(b"/")
    for number, piece in enumerate(pieces):
        part = unquote_to_bytes(piece)
        if b"/" in part or b"\0" in part:
            # A server that used this as a path would serve something else than what is named here.
            return None
        if part in {b".", b".."}:
            if part == b".." and found:
                found.pop()
            if number == len(pieces) - 1:
                found.append(b"")
            continue
        found.append(part)
    return tuple(found)


def format_address(address: Address) -> str:
    """Return the address as text, in ASCII."""
    port = "" if address.port is None else f":{address.port}"
    path = "/".join(quote(part, safe=_LITERAL) for part in address.parts)
    return f"{address.scheme}://{address.host}{port}/{path}"


FOUND_MAX = 32
"""Maximum number of paths for one address."""
_WWW = "www."
_NAME = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}", re.ASCII)
_IN_HOST = "[a-z0-9_.-]+"
_IN_PART = ".+"


def names_in(folder: bytes) -> Iterable[bytes]:
    """Return the names in a folder; empty where it can't be read."""
    try:
        descriptor = open_absolute(folder, LIST_FLAGS)
    except (OSError, ValueError):
        return ()
    try:
        return sorted(map(os.fsencode, os.listdir(descriptor)))
    except OSError:
        return ()
    finally:
        os.close(descriptor)


def is_there(path: bytes) -> bool:
    """Return True if a path leads to something that is seen without asking another user's FUSE."""
    try:
        stat_absolute(path)
    except (OSError, ValueError):
        return False
    return True


class _Site(NamedTuple):
    rule: SiteRule
    scheme: str
    host: re.Pattern[str]
    port: int | None
    parts: tuple[re.Pattern[str], ...]
    """Components of the URL's path."""
    source: str
    """Scheme of the objects; empty for files."""
    path: tuple[tuple[str, re.Pattern[str], bool], ...]
    """Components as text and compiled, and True for those that the URL determines fully."""
    url_host: str
    url_parts: tuple[str, ...]
    names: frozenset[str]
    """Names in braces in the URL."""
    weight: int
    """Number of the URL's characters outside of names; the higher, the more specific is the rule."""


class Sites:
    """The compiled rules; a query succeeds for any address or path, however hostile."""

    def __init__(self, rules: Iterable[SiteRule] = ()) -> None:
        """Compile the rules of the settings; the most specific ones come first.

        Raises:
            UsageError: one can't be used.
        """
        self._sites = sorted(map(_compiled, rules), key=lambda site: -site.weight)

    def __bool__(self) -> bool:
        return bool(self._sites)

    def paths_of(self, url: str) -> tuple[bytes, ...]:
        """Return the files or objects, or the folder, that an address may show.

        Where a rule's path has a star or a name that the URL doesn't contain, the existing folders are
        searched for it. An address with `www.` is also looked up without. Of several rules the most specific
        ones decide. No path is outside its rule's folder or prefix; symlinks within it are not followed, and
        the existence of the file is not checked. A rule whose folder is a symlink to `/` maps nothing.

        Args:
            url: as a person wrote it; untrusted.

        Returns:
            The likeliest first; empty where no rule applies.
        """
        address = parse_address(url)
        if address is None:
            return ()
        hosts = [address.host]
        if address.host.startswith(_WWW):
            hosts.append(address.host.removeprefix(_WWW))
        found = chain.from_iterable(self._likeliest(address._replace(host=host)) for host in hosts)
        return tuple(islice(dict.fromkeys(found), FOUND_MAX))

    def covers(self, path: bytes) -> bool:
        """Return True if a path is below the folder or prefix of a rule, as the rule writes it.

        Args:
            path: the whole path, or an object's URL; untrusted. The existence of the file is not checked.
        """
        scheme, parts = parts_of(path)
        if not scheme and (not path.startswith(b"/") or not {"", ".", ".."}.isdisjoint(parts)):
            return False
        if b"\0" in path:
            return False
        return any(
            site.source == scheme
            and len(parts) > len(site.path)
            and all(pattern.fullmatch(part) for (_, pattern, _), part in zip(site.path, parts, strict=False))
            for site in self._sites
        )

    def url_of(self, path: bytes) -> str:
        """Return the public web address of a file or object; empty where no rule applies.

        Args:
            path: the whole path, or an object's URL.
        """
        scheme, parts = parts_of(path)
        for site in self._sites:
            url = _url(site, scheme, parts)
            if url:
                return url
        return ""

    def _likeliest(self, address: Address) -> Iterator[bytes]:
        """Yield the paths by the most specific rules that apply to an address."""
        weight = -1
        for site in self._sites:
            if site.weight < weight:
                return
            for path in islice(self._paths(site, address), FOUND_MAX):
                weight = site.weight
                yield path

    def _paths(self, site: _Site, address: Address) -> Iterator[bytes]:
        names = _names(site, address)
        if names is None:
            return
        rest = address.parts[len(site.parts) :]
        if not site.source:
            # A filesystem has no empty names.
            rest = tuple(part for part in rest if part)
        for root in self._roots(site, names):
            yield b"/".join((root, *rest))

    def _roots(self, site: _Site, names: Mapping[str, bytes]) -> Iterator[bytes]:
        """Yield the folders, or the bucket and prefix, that a rule's path may stand for."""
        if site.source:
            if all(known for _, _, known in site.path):
                parts = (_filled(text, names) for text, _, _ in site.path)
                yield b"%b://%b" % (site.source.encode(), b"/".join(parts))
            return
        folders = [b""]
        for text, pattern, known in site.path:
            if known:
                part = _filled(text, names)
                folders = [b"%b/%b" % (folder, part) for folder in folders]
            else:
                folders = [path for folder in folders for path in self._within(folder, pattern, names)]
        guessed = any(not known for _, _, known in site.path)
        resolved = (resolve_admin_links(folder) for folder in folders if not guessed or is_there(folder))
        yield from (folder for folder in resolved if folder != b"/")

    def _within(self, folder: bytes, pattern: re.Pattern[str], names: Mapping[str, bytes]) -> Iterator[bytes]:
        for name in names_in(folder or b"/"):
            fits = pattern.fullmatch(name.decode("utf-8", "surrogateescape"))
            if fits is not None and all(
                names.get(key, fsencode(value)) == fsencode(value) for key, value in fits.groupdict().items()
            ):
                yield b"%b/%b" % (folder, name)


def _names(site: _Site, address: Address) -> dict[str, bytes] | None:
    """Return the values of the names in a rule's URL for an address; None where the rule is not for it."""
    if address.port != site.port or len(address.parts) < len(site.parts):
        return None
    host = site.host.fullmatch(address.host)
    if host is None:
        return None
    found = {key: value.encode("ascii") for key, value in host.groupdict().items()}
    for pattern, part in zip(site.parts, address.parts, strict=False):
        fits = pattern.fullmatch(part.decode("utf-8", "surrogateescape"))
        if fits is None:
            return None
        found |= {key: value.encode("utf-8", "surrogateescape") for key, value in fits.groupdict().items()}
    # As a component of a path, these would lead out of it.
    return None if {b".", b".."} & set(found.values()) else found


def _filled(text: str, names: Mapping[str, bytes]) -> bytes:
    pieces = _NAME.split(text)
    return b"".join(
        names[piece] if position % 2 else piece.encode("utf-8", "surrogateescape")
        for position, piece in enumerate(pieces)
    )


def _url(site: _Site, scheme: str, parts: Sequence[str]) -> str:
    if scheme != site.source or len(parts) <= len(site.path):
        return ""
    found: dict[str, str] = {}
    for (_, pattern, _), part in zip(site.path, parts, strict=False):
        fits = pattern.fullmatch(part)
        if fits is None:
            return ""
        found |= fits.groupdict()
    rest = parts[len(site.path) :]
    if not site.names <= found.keys() or {".", ".."} & {*found.values(), *rest}:
        return ""
    host = host_of(_NAME.sub(lambda name: found[name[1]], site.url_host))
    if host is None or site.host.fullmatch(host) is None:
        return ""
    values = {key: value.encode("utf-8", "surrogateescape") for key, value in found.items()}
    before = [_filled(part, values) for part in site.url_parts]
    after = [part.encode("utf-8", "surrogateescape") for part in rest]
    return format_address(Address(site.scheme, host, site.port, (*before, *after)))


def _compiled(rule: SiteRule) -> _Site:
    try:
        scheme, host, port, url_parts = _rule_url(rule.url)
        names = _NAME.findall("/".join((host, *url_parts)))
        if len(set(names)) < len(names):
            raise ValueError("has a name twice")
        source, components = parts_of(fsencode(rule.path))
        while components and not components[-1]:
            components.pop()
        if not components or not (source or rule.path.startswith("/")):
            raise ValueError("has a path that is neither whole nor a bucket's URL")
        in_path: list[str] = []
        path = []
        for text in components:
            before = len(in_path)
            pattern = component(text, in_path)
            known = not set("*?[\\") & set(text) and set(in_path[before:]) <= set(names)
            path.append((text, pattern, known))
    except ValueError as error:
        raise UsageError(
            f"{rule.origin} {error}",
            advice="Write url = 'https://{customer}.example/' and path = '/var/www/{customer}/htdocs', or "
            "'s3://bucket/prefix/'.",
        ) from error
    return _Site(
        rule,
        scheme,
        _pattern(host, _IN_HOST),
        port,
        tuple(_pattern(part, _IN_PART) for part in url_parts),
        source,
        tuple(path),
        host,
        url_parts,
        frozenset(names),
        len(_NAME.sub("", host + "/".join(url_parts))),
    )


def _rule_url(url: str) -> tuple[str, str, int | None, tuple[str, ...]]:
    """Return scheme, host, port and path of a rule's URL, which has names in braces."""
    # With letters in the place of its names it is an ordinary address.
    plain = parse_address(_NAME.sub("x", url))
    split = split_url(url.encode("utf-8"))
    if plain is None or split.query or split.fragment or split.user is not None:
        raise ValueError("has a URL that is no plain web address")
    host = split.host
    if not _NAME.search(host):
        host = plain.host
    elif not host.isascii() or host != host.lower():
        raise ValueError("has a host with a name in braces that is not in ASCII and lower case")
    path = split.path.decode("utf-8")
    parts = [unquote(part, errors="surrogateescape") for part in path.split("/") if part]
    if any(len(_NAME.findall(part)) > 1 for part in parts):
        raise ValueError("has two names between two slashes of its URL")
    return plain.scheme, host, plain.port, tuple(parts)


def _pattern(text: str, anything: str) -> re.Pattern[str]:
    pieces = _NAME.split(text)
    return re.compile(
        "".join(
            f"(?P<{piece}>{anything})" if position % 2 else re.escape(piece)
            for position, piece in enumerate(pieces)
        ),
        re.DOTALL,
    )


def site_rules(tables: object, source: str) -> tuple[SiteRule, ...]:
    """Return the rules in their order.

    Raises:
        UsageError: a rule can't be used; names it, the key and what to do.
    """
    rules = []
    for number, row in enumerate(rows_of(tables, "site", source), start=1):
        found = read_row(row, _READERS, f"{source}, site rule {number}", required=("url", "path"))
        rule = SiteRule(f"site rule {number}", found["url"], found["path"])
        try:
            Sites([rule])
        except UsageError as error:
            raise UsageError(f"{source}, {error}", advice=error.remedy) from error
        rules.append(rule)
    return tuple(rules)


def _url_pattern(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        raise InvalidValueError(
            f"{value!r} is no web address", "Write one such as 'https://{customer}.example/'."
        )
    return value


_READERS: dict[str, Reader] = {
    "url": _url_pattern,
    "path": partial(read_path, noun="path", example="/var/www/{customer}/htdocs"),
}
