"""Create clients for one Azure container with the same credentials, and interpret their errors."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

from hashscan.errors import CredentialsError, HashscanError, TargetError, UnreachableError
from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.az_login import AzureLogin
from hashscan.sources.objects.bodies import CLIENT, ONE_TRY, READ_SECONDS
from hashscan.sources.objects.refusals import refused as refused_object
from hashscan.sources.objects.store import RetryableError

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
        """Azure's own client, without retries."""
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

        from hashscan.sources.objects.az_session import PlainSession

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
        """Close the library's connections; those of obstore are closed with its client."""
        for name in ("lister", "reader"):
            made = self.__dict__.pop(name, None)
            if made is not None:
                made.close()
        self.__dict__.pop("fast", None)


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
        words = f"credentials could not be renewed ({type(error).__name__})"
        return RetryableError(words, reason=Reason.CREDENTIALS)
    if not status:
        return RetryableError(f"the connection failed ({type(error).__name__})")
    return refused_object(status, code, begun=begun)
