"""Find Azure's account and credentials, create clients for one container, and interpret their errors."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hashscan.errors import CredentialsError, HashscanError, TargetError, UnreachableError
from hashscan.model import Access
from hashscan.sources.base import FileError
from hashscan.sources.objects.obstore_reader import CLIENT, ONE_TRY, READ_SECONDS
from hashscan.sources.objects.store import RetryableError, close_clients, credentials_not_renewed
from hashscan.sources.objects.store import refused as refused_object

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
    """Find an account and credentials; an endpoint is the account's address, and overrides the
    environment."""
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
    text = os.environ.get(_CONNECTION, "")
    parts = {}
    for part in filter(None, text.split(";")):
        name, separator, value = part.strip().partition("=")
        if not separator:
            # The text may contain a key, so it is not repeated.
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


_PIECE = 4 << 20
"""Number of bytes that the library reads into memory at a time."""

_LISTING_TRIES = 5


class AzureClients:
    """The clients for one container, created at the first use; nothing is sent before."""

    def __init__(self, container: str, login: AzureLogin) -> None:
        self.container = container
        self._login = login
        # Its warnings contain texts of servers.
        logging.getLogger("azure").setLevel(logging.CRITICAL)

    @cached_property
    def lister(self) -> Any:
        """Azure's own client, which retries failed requests."""
        return self._client(_LISTING_TRIES)

    @cached_property
    def reader(self) -> Any:
        return self._client(1)

    @cached_property
    def fast(self) -> Any:
        """The client of obstore."""
        from obstore.store import AzureStore as Fast

        login = self._login
        return Fast(
            container_name=self.container,
            config={
                "account_name": login.account,
                "endpoint": login.url,
                **({"skip_signature": True} if login.for_obstore is None else {}),
            },
            client_options={**CLIENT, "allow_http": login.url.startswith("http://")},
            retry_config=ONE_TRY,
            credential_provider=login.for_obstore,
        )

    def _client(self, tries: int) -> Any:
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import BlobServiceClient, ExponentialRetry

        from hashscan.sources.objects.az.session import PlainSession

        service = BlobServiceClient(
            self._login.url,
            credential=self._login.for_sdk,
            retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=tries - 1),
            transport=RequestsTransport(session=PlainSession(), session_owner=False),
            connection_timeout=10,
            read_timeout=READ_SECONDS,
            max_single_get_size=_PIECE,
            max_chunk_get_size=_PIECE,
        )
        return service.get_container_client(self.container)

    def explained(self, error: Any) -> HashscanError:
        """Return the error for a failure before the listing began, with the container and the remedy."""
        from azure.core.exceptions import ServiceRequestError, ServiceResponseError

        if isinstance(error, ServiceRequestError | ServiceResponseError):
            return UnreachableError(
                f"the service of az://{self.container} can't be reached ({type(error).__name__})",
                advice="Check the account's name, the network and --endpoint, then try again.",
            )
        status, code = answer_of(error)
        if status:
            return self.refused(status, code)
        # The error concerns an identity or a token; its text may contain parts of them.
        return CredentialsError(
            f"there are no usable credentials for az://{self.container} ({type(error).__name__})",
            advice="Mend what the AZURE_ variables say, or say --anonymous.",
        )

    def refused(self, status: int, code: str) -> HashscanError:
        """Return the error for a refused listing."""
        where = f"az://{self.container}"
        said = code or str(status)
        if status == 404:
            return TargetError(
                f"there is no container {where}",
                advice="Mend its name or AZURE_STORAGE_ACCOUNT. Azure says so, too, of what is not public.",
            )
        if status >= 500 or status == 429:
            return UnreachableError(
                f"the server of {where} can't list it now: {said}", advice="Try again later."
            )
        if code == "AuthorizationPermissionMismatch":
            return TargetError(
                f"no right to list {where}",
                advice="Grant the role Storage Blob Data Reader, or a signature that may list and read.",
            )
        return CredentialsError(
            f"the credentials for {where} are refused: {said}",
            advice="Renew AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or the identity; see that the account's "
            "network rules let this machine in.",
        )

    def close(self) -> None:
        close_clients(self, ("lister", "reader"), "fast")


def answer_of(error: Any) -> tuple[int, str]:
    """Return status and code of the server's answer to which an error belongs; 0 if there was none."""
    code = getattr(error, "error_code", None)
    text = str(getattr(code, "value", code) or "")
    return int(getattr(error, "status_code", None) or 0), text if text.isalnum() else ""


def trouble_of(error: Any, *, begun: bool = False) -> FileError | RetryableError:
    """Return the error for one blob, or for a listing in progress."""
    from azure.core.exceptions import ClientAuthenticationError

    status, code = answer_of(error)
    if not status and isinstance(error, ClientAuthenticationError):
        return credentials_not_renewed(error)
    if not status:
        return RetryableError(f"the connection failed ({type(error).__name__})")
    return refused_object(status, code, begun=begun)
