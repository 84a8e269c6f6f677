"""Exchanges of extensions of python-threatexchange: installed packages with a `TX_MANIFEST`.

The operator names the extension and its exchange when a list is added; no other extension is imported, and
only those in the folders of this installation's packages are. It runs in the fetching process, with its time
and memory; its requests, as far as it sends them by the library `requests`, go to the one address that the
operator names, and are bounded as those of our own exchanges. It is code of this installation all the same:
it could send requests in another way, or read files, as any installed package could.

How its answers become entries: each record is converted by the extension's own code, as the library does it.
All entries are `other`, which is for review only. A digest is left out if all opinions of it are that it is a
false positive. Extensions that merge a record with its earlier form can't be used, since that
form is not kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta, Struct
from threatexchange.exchanges.auth import SignalExchangeWithAuth
from threatexchange.exchanges.collab_config import CollaborationConfigBase
from threatexchange.exchanges.fetch_state import FetchDeltaTyped
from threatexchange.exchanges.signal_exchange_api import SignalExchangeAPI
from threatexchange.extensions.manifest import ThreatExchangeExtensionManifest
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal
from threatexchange.signal_type.sha256 import VideoSHA256Signal
from threatexchange.signal_type.signal_base import SignalType
from threatexchange.utils import dataclass_json

from hashscan.errors import UsageError
from hashscan.lists.exchanges.base import Exchange, Page, Record, Request
from hashscan.lists.exchanges.threatexchange import is_false_positive
from hashscan.lists.exchanges.transport import FetchError, PageGuard, Transport
from hashscan.plugins import check_place
from hashscan.web_address import parse

CATEGORY = "other"
_ENVIRONMENT = re.compile(r"([A-Za-z_][\w.]{0,200})/([a-z0-9_]{1,64})", re.ASCII)
_ALGORITHMS = {
    PdqSignal.get_name(): "pdq",
    VideoMD5Signal.get_name(): "md5",
    VideoSHA256Signal.get_name(): "sha256",
    **{name: name for name in ("md5", "sha1", "sha256", "sha512")},
}
"""Ours by names that leave no doubt: another picture hash could have the name of one of ours."""
_TOGETHER = 1 << 12
"""Largest number of records on a page; a delta of the library has any number."""

_Api: TypeAlias = SignalExchangeAPI[Any, Any, Any, Any, Any]


class _Settings(Struct, forbid_unknown_fields=True):
    """The content of the file with the credentials."""

    address: Annotated[str, Meta(max_length=2048)]
    collaboration: dict[str, Any] = {}
    credentials: str | None = None


class ExtensionExchange(Exchange):
    """An exchange of an installed extension of python-threatexchange."""

    name = "extension"
    credentials_form = (
        'a JSON object with "address", the only server that may be asked, and where the extension needs them '
        '"collaboration", an object with the fields of its settings, and "credentials", a text'
    )
    categories: ClassVar[Mapping[str, str]] = {"*": CATEGORY}
    environment_form = "MODULE/EXCHANGE: the extension's module and the name of its exchange"

    def environments(self) -> Mapping[str, str]:
        """Return nothing: extensions are not searched for."""
        return {}

    def address(self, environment: str, credentials: Mapping[str, str]) -> str:
        """Return the address that the credentials name, after loading the extension."""
        named = _ENVIRONMENT.fullmatch(environment)
        if named is None:
            raise KeyError(environment)
        try:
            check_place(named[1])
        except (ValueError, ImportError) as error:
            raise UsageError(
                f"the extension can't be used: {error}", advice="Install its package beside hashscan."
            ) from None
        _loaded(environment)
        return credentials["address"]

    def parse_credentials(self, text: str) -> dict[str, str]:
        settings = msgspec.json.decode(text, type=_Settings)
        try:
            scheme = parse(settings.address.encode()).endpoint[0]
        except UsageError as error:
            raise ValueError(str(error)) from None
        if scheme != "https":
            raise ValueError("no https")
        found = {
            "address": settings.address,
            "collaboration": msgspec.json.encode(settings.collaboration).decode(),
        }
        return found if settings.credentials is None else {**found, "credentials": settings.credentials}

    def pages(self, request: Request, transport: Transport) -> Iterator[Page]:
        """Yield what the extension fetches, in pages of some thousand records."""
        transport.mount_everywhere()
        kind, signal_types = _loaded(request.environment)
        given = json.loads(request.credentials["collaboration"])
        given |= {"name": request.name, "api": kind.get_name(), "enabled": True}
        settings: CollaborationConfigBase = dataclass_json.dataclass_load_dict(given, kind.get_config_cls())
        api = _instance(kind, settings, request.credentials.get("credentials"))
        checkpoint_kind: Any = kind.get_checkpoint_cls()
        stored = None
        if request.checkpoint and fields(checkpoint_kind):
            stored = dataclass_json.dataclass_loads(request.checkpoint, checkpoint_kind)
        if stored is not None and stored.is_stale():
            stored = None
        converter = _Converter(kind, settings, signal_types, whole=stored is None)
        text, afresh = request.checkpoint if stored else "", stored is None
        guard = PageGuard(transport.host)
        for delta in api.fetch_iter(signal_types, stored):
            guard.check(delta.updates, None)
            if transport.skew is not None:
                transport.check_clock()
            for records, removed in converter.converted(delta):
                yield Page(records, removed, text or "", afresh=afresh)
                afresh = False
            text = dataclass_json.dataclass_dumps(delta.checkpoint)
            yield Page([], [], text, afresh=afresh)
            afresh = False


def _loaded(environment: str) -> tuple[type[_Api], list[type[SignalType]]]:
    """Return the class of an extension's exchange, and all kinds of digests that are known with it."""
    module, _, name = environment.partition("/")
    try:
        manifest = ThreatExchangeExtensionManifest.load_from_module_name(module)
        found = {api.get_name(): api for api in manifest.apis}
        own = list(manifest.signal_types)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"the extension {module} can't be used: {type(error).__name__}: {error}"[:500],
            advice="Update or remove its package.",
        ) from None
    if name not in found:
        raise UsageError(
            f"the extension {module} has no exchange {name!r}",
            advice=f"It has {', '.join(sorted(found)) or 'none'}.",
        )
    kind = found[name]
    if getattr(kind.fetch_value_merge, "__func__", None) is not SignalExchangeAPI.fetch_value_merge.__func__:  # type: ignore[attr-defined]
        raise UsageError(
            f"the exchange {name} of the extension {module} merges records with earlier ones",
            advice="hashscan keeps none; ask the extension's author for one that sends whole records.",
        )
    return kind, [PdqSignal, VideoMD5Signal, VideoSHA256Signal, *own]


def _instance(kind: type[_Api], settings: CollaborationConfigBase, credentials: str | None) -> _Api:
    if not issubclass(kind, SignalExchangeWithAuth):
        return kind.for_collab(settings)
    parsed = kind.get_credential_cls()._from_str(credentials or "")
    if parsed is None or not parsed._are_valid():
        raise FetchError("the extension does not take the credentials")
    found: _Api = kind.for_collab(settings, parsed)
    return found


class _Converter:
    """Makes records of an extension's deltas."""

    def __init__(
        self,
        kind: type[_Api],
        settings: CollaborationConfigBase,
        signal_types: list[type[SignalType]],
        *,
        whole: bool,
    ) -> None:
        self._kind = kind
        self._settings = settings
        self._signal_types = signal_types
        self._whole = whole
        """True if everything is fetched afresh, so that no record has to be withdrawn."""

    def converted(self, delta: FetchDeltaTyped[Any]) -> Iterator[tuple[list[Record], list[str]]]:
        """Yield records, and keys of removed ones. A record with several digests of a kind is an error: they
        could not be withdrawn together later."""
        records: dict[str, Record] = {}
        removed: dict[str, None] = {}
        for place, value in delta.updates.items():
            key = _key(place)
            made = [] if value is None else list(self._records(key, place, value))
            if made:
                records |= {record.key: record for record in made}
            else:
                removed[key] = None
            if len(records) + len(removed) >= _TOGETHER:
                yield list(records.values()), list(removed)
                records, removed = {}, {}
        yield list(records.values()), list(removed)

    def _records(self, key: str, place: Any, value: Any) -> Iterator[Record]:
        by_kind = self._kind.naive_convert_to_signal_type(self._signal_types, self._settings, {place: value})
        algorithms = {
            _ALGORITHMS.get(kind.get_name(), f"extension-{kind.get_name()}"): signals
            for kind, signals in by_kind.items()
        }
        if not any(algorithms.values()):
            # A digest of an unknown kind.
            yield Record(key, key, CATEGORY, {"unknown": "-"})
            return
        wanted = {
            algorithm[:64]: [signal for signal, found in signals.items() if not is_false_positive(found)]
            for algorithm, signals in algorithms.items()
        }
        most = max(map(len, wanted.values()))
        if most > 1 and not self._whole:
            raise FetchError(
                "the extension sends records of several digests, of which one can't be withdrawn"
            )
        for number in range(most):
            own = key if number == 0 else f"{key}-{number}"
            digests = {name: found[number][:4096] for name, found in wanted.items() if number < len(found)}
            yield Record(own, own, CATEGORY, digests)


def _key(place: Any) -> str:
    """Return a key that reveals no digest: reports name the ids that are made of it."""
    return f"x-{hashlib.blake2b(repr(place).encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
