"""Find the Azure storage account and credentials, from the variables that Azure's own command line reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hashscan.errors import CredentialsError, TargetError
from hashscan.model import Access

if TYPE_CHECKING:
    from obstore.store import AzureCredential

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
_ACCOUNT = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
_KEY = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")
_SAS = ("AZURE_STORAGE_SAS_TOKEN",)
_SCOPE = "https://storage.azure.com/.default"

_ADVICE = (
    f"Set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or {_CONNECTION}, "
    "or install azure-identity for managed identities, or say --anonymous."
)


@dataclass(frozen=True)
class AzureLogin:
    """An account and one kind of credential; its repr shows only the account's name."""

    url: str = field(repr=False)
    """URL of the account's blob service, without a query."""
    account: str
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)
    identity: Any = field(default=None, repr=False)
    """A credential object of azure-identity."""

    @property
    def for_sdk(self) -> Any:
        """The credential for Azure's library; None for anonymous access."""
        from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential

        if self.key:
            return AzureNamedKeyCredential(self.account, self.key)
        return AzureSasCredential(self.sas) if self.sas else self.identity

    @property
    def for_obstore(self) -> Callable[[], AzureCredential] | None:
        """The credential provider for obstore; None for anonymous access."""
        if self.key:
            key = self.key
            return lambda: {"access_key": key, "expires_at": None}
        if self.sas:
            sas = self.sas
            return lambda: {"sas_token": sas, "expires_at": None}
        return None if self.identity is None else self._token

    def _token(self) -> AzureCredential:
        token = self.identity.get_token(_SCOPE)
        return {"token": token.token, "expires_at": datetime.fromtimestamp(token.expires_on, UTC)}


def find_login(container: str, access: Access) -> AzureLogin:
    """Find an account and credentials.

    Args:
        container: its name, for error messages.
        access: if it has an endpoint, this is the account's address and overrides the environment.

    Raises:
        TargetError: there is no account or no credential, or they are not valid.
    """
    parts = _connection_parts()
    account = parts.get("AccountName") or _first(*_ACCOUNT)
    url = access.endpoint or parts.get("BlobEndpoint", "")
    if not account and url:
        account = _account_of(url)
    if not url:
        if not account:
            raise CredentialsError(
                f"no storage account is named for az://{container}",
                advice=f"Set AZURE_STORAGE_ACCOUNT or {_CONNECTION}, or name the service with --endpoint.",
            )
        protocol = parts.get("DefaultEndpointsProtocol", "https")
        url = f"{protocol}://{account}.blob.{parts.get('EndpointSuffix', 'core.windows.net')}"
    url = url.partition("?")[0].rstrip("/")
    if urlsplit(url).scheme not in {"http", "https"} or "@" in urlsplit(url).netloc:
        raise TargetError("the address of the storage account is none", advice=f"Mend {_CONNECTION}.")
    if access.anonymous:
        return AzureLogin(url, account)
    # Signed addresses are often copied with their question mark.
    key = parts.get("AccountKey") or _first(*_KEY)
    sas = (parts.get("SharedAccessSignature") or _first(*_SAS)).lstrip("?")
    if key:
        return AzureLogin(url, account, key=key)
    if sas:
        return AzureLogin(url, account, sas=sas)
    try:
        from azure.identity import DefaultAzureCredential
    except ModuleNotFoundError:
        raise CredentialsError(f"there are no credentials for az://{container}", advice=_ADVICE) from None
    return AzureLogin(url, account, identity=DefaultAzureCredential())


def _first(*names: str) -> str:
    return next((value for name in names if (value := os.environ.get(name, ""))), "")


def _connection_parts() -> dict[str, str]:
    """Return the connection string's parts by name.

    Raises:
        TargetError: it is not a connection string; the message does not repeat its text.
    """
    text = os.environ.get(_CONNECTION, "")
    parts = {}
    for part in filter(None, text.split(";")):
        name, separator, value = part.strip().partition("=")
        if not separator:
            raise TargetError(f"{_CONNECTION} is no connection string", advice="Copy it again.")
        parts[name] = value
    return parts


def _account_of(url: str) -> str:
    """Return the account's name: the host's first label, or the first folder if the host is an IP address."""
    address = urlsplit(url)
    host = address.hostname or ""
    if host.replace(".", "").isdigit() or ":" in host or host == "localhost":
        return address.path.strip("/").partition("/")[0]
    return host.partition(".")[0]
