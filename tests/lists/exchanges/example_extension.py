"""An extension of python-threatexchange, as somebody else would write one; the tests install a copy of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import requests
from threatexchange.exchanges import auth, fetch_state
from threatexchange.exchanges.collab_config import CollaborationConfigWithDefaults
from threatexchange.exchanges.signal_exchange_api import SignalExchangeAPIWithSimpleUpdates
from threatexchange.extensions.manifest import ThreatExchangeExtensionManifest


@dataclass
class Settings(CollaborationConfigWithDefaults):
    bank: str = ""


@dataclass
class Checkpoint(fetch_state.FetchCheckpointBase):
    since: int


@dataclass
class Key(auth.CredentialHelper):
    key: str
    ENV_VARIABLE: ClassVar[str] = "EXAMPLE_KEY"

    @classmethod
    def _from_str(cls, s: str) -> "Key":
        return cls(s)

    def _are_valid(self) -> bool:
        return bool(self.key)


@dataclass
class Opinion(fetch_state.FetchedSignalMetadata):
    wrong: bool = False

    def get_as_opinions(self) -> list[fetch_state.SignalOpinion]:
        kinds = fetch_state.SignalOpinionCategory
        category = kinds.NEGATIVE_CLASS if self.wrong else kinds.POSITIVE_CLASS
        return [fetch_state.SignalOpinion(False, category, set())]


_Delta = fetch_state.FetchDelta[tuple[str, str], Opinion, Checkpoint]


class ExampleExchangeAPI(
    auth.SignalExchangeWithAuth[Settings, Key],
    SignalExchangeAPIWithSimpleUpdates[Settings, Checkpoint, Opinion],
):
    def __init__(self, settings: Settings, key: Key) -> None:
        self.settings = settings
        self.key = key

    @classmethod
    def get_name(cls) -> str:
        return "example"

    @staticmethod
    def get_config_cls() -> type[Settings]:
        return Settings

    @staticmethod
    def get_checkpoint_cls() -> type[Checkpoint]:
        return Checkpoint

    @staticmethod
    def get_record_cls() -> type[Opinion]:
        return Opinion

    @staticmethod
    def get_credential_cls() -> type[Key]:
        return Key

    @classmethod
    def for_collab(cls, collab: Settings, credentials: Key | None = None) -> "ExampleExchangeAPI":
        return cls(collab, credentials or Key.get(cls))

    def fetch_iter(self, _types: Any, checkpoint: Checkpoint | None) -> Iterator[_Delta]:
        since = checkpoint.since if checkpoint else 0
        page = 0
        while True:
            answer = requests.get(
                f"https://hashes.example.org/{self.settings.bank}",
                params={"since": since, "page": page},
                headers={"X-Key": self.key.key},
            ).json()
            updates = {
                (kind, value): None if state == "gone" else Opinion(state == "wrong")
                for kind, value, state in answer["records"]
            }
            last = answer["next"] is None
            yield _Delta(updates, Checkpoint(answer["newest"] if last else since))  # type: ignore[arg-type]
            if last:
                return
            page = answer["next"]


class MergingExchangeAPI(ExampleExchangeAPI):
    @classmethod
    def get_name(cls) -> str:
        return "merging"

    @classmethod
    def fetch_value_merge(cls, old: Opinion | None, new: Opinion | None) -> Opinion | None:
        return new or old


class WholeExchangeAPI(ExampleExchangeAPI):
    """Sends everything each time, all of it under one key."""

    @classmethod
    def get_name(cls) -> str:
        return "whole"

    @staticmethod
    def get_checkpoint_cls() -> type[Any]:
        return fetch_state.NoCheckpointing

    def fetch_iter(self, _types: Any, checkpoint: Any) -> Iterator[Any]:
        assert checkpoint is None
        everything: dict[Any, Any] = {}
        for delta in super().fetch_iter(_types, None):
            everything |= delta.updates
        yield fetch_state.FetchDelta({"all": everything}, fetch_state.NoCheckpointing())

    @classmethod
    def naive_convert_to_signal_type(cls, signal_types: Any, collab: Any, fetched: Any) -> Any:
        return super().naive_convert_to_signal_type(signal_types, collab, fetched["all"])


TX_MANIFEST = ThreatExchangeExtensionManifest(apis=(ExampleExchangeAPI, MergingExchangeAPI, WholeExchangeAPI))
