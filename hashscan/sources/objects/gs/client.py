"""Create clients for a Google bucket with the same credentials, and interpret their errors.

Importing this module imports Google's libraries and requests, one of their dependencies, so other modules
import it at the first use.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC
from functools import cached_property
from typing import TYPE_CHECKING, Any

import google.auth
import requests
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage
from requests.adapters import HTTPAdapter

from hashscan.errors import CredentialsError, HashscanError, TargetError, UnreachableError
from hashscan.model import Access
from hashscan.sources.base import FileError
from hashscan.sources.objects.obstore_reader import CLIENT, ONE_TRY
from hashscan.sources.objects.store import RetryableError, close_clients, credentials_not_renewed, refused

if TYPE_CHECKING:
    from obstore.store import GCSConfig, GCSCredential, GCSStore

GOOGLES_OWN = "https://storage.googleapis.com"
_EMULATOR = "STORAGE_EMULATOR_HOST"
_NO_ASIDES = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
_READING = "https://www.googleapis.com/auth/devstorage.read_only"
_CHANGING = "https://www.googleapis.com/auth/devstorage.full_control"
"""This scope includes the access list of an object, which is restored with it."""
_NOBODY = "none"

FAILURES = (GoogleAPICallError, RetryError, GoogleAuthError, requests.RequestException)
"""Exceptions of the libraries for failures of the service or of the credentials."""


class GoogleClients:
    """The clients for one bucket, created at the first use; nothing is sent before."""

    def __init__(self, bucket: str, access: Access, *, changing: bool = False) -> None:
        """Find credentials where Google's own tools look for them."""
        self.bucket = bucket
        self._access = access
        emulator = os.environ.get(_EMULATOR, "")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        self.url = (access.endpoint or emulator or GOOGLES_OWN).rstrip("/")
        self.emulated = bool(emulator) and not access.endpoint
        """True for an emulator, which supports Google's interface only in part: obstore requires more of
        it."""
        # Its warnings concern machines of Google, and this machine may not be one.
        logging.getLogger("google.auth").setLevel(logging.CRITICAL)
        self._anonymous = access.anonymous or self.emulated
        if self._anonymous:
            self._credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
            self._project = _NOBODY
            return
        try:
            self._credentials, project = google.auth.default(scopes=(_CHANGING if changing else _READING,))
        except GoogleAuthError:
            # Its text may contain parts of a key file.
            raise CredentialsError(
                f"there are no credentials for gs://{bucket}",
                advice="Set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth application-default login`, "
                "or say --anonymous.",
            ) from None
        self._project = project or _NOBODY

    @cached_property
    def lister(self) -> storage.Client:
        """Google's own client."""
        # Otherwise it also requests the bucket's metadata, in a thread that is never stopped, and our role
        # may not allow that.
        os.environ.setdefault(_NO_ASIDES, "true")
        return storage.Client(
            project=self._project,
            credentials=self._credentials,
            client_options={"api_endpoint": self.url},
            # Its own session would try to renew anonymous credentials, and leave connections open.
            _http=self.session if self._anonymous else None,
        )

    @cached_property
    def session(self) -> requests.Session:
        # Anonymous credentials can't be renewed, but AuthorizedSession tries that when a request is refused.
        session: requests.Session = (
            requests.Session() if self._anonymous else AuthorizedSession(self._credentials)  # type: ignore[no-untyped-call]
        )
        adapter = HTTPAdapter(pool_maxsize=self._access.concurrency)
        for scheme in ("https://", "http://"):
            session.mount(scheme, adapter)
        return session

    @cached_property
    def obstore(self) -> GCSStore:
        from obstore.store import GCSStore

        config: GCSConfig = {"base_url": self.url}
        if self._anonymous:
            config["skip_signature"] = True
        return GCSStore(
            self.bucket,
            config=config,
            client_options={**CLIENT, "allow_http": self.url.startswith("http://")},
            retry_config=ONE_TRY,
            credential_provider=None if self._anonymous else self._credential,
        )

    def _credential(self) -> GCSCredential:
        """Return a new credential for obstore when the last one expires."""
        credentials = self._credentials
        if not credentials.valid:
            credentials.refresh(Request())
        expiry = credentials.expiry
        return {"token": credentials.token, "expires_at": expiry and expiry.replace(tzinfo=UTC)}

    def close(self) -> None:
        close_clients(self, ("lister", "session"), "obstore")

    def explained(self, error: Exception) -> HashscanError:
        """Return the error for a failure before the listing began, with the bucket and the remedy."""
        where = f"gs://{self.bucket}"
        status = status_of(error)
        if isinstance(error, TransportError | requests.ConnectionError | requests.Timeout | RetryError):
            return UnreachableError(
                f"{self.url} can't be reached for {where} ({type(error).__name__})",
                advice="Check the network and --endpoint, then try again.",
            )
        if status == 404:
            return TargetError(
                f"there is no bucket {where}", advice="Mend its name, or name its service with --endpoint."
            )
        if status >= 500 or status == 429:
            return UnreachableError(
                f"the server of {where} can't list it now: {status}", advice="Try again later."
            )
        if status in {401, 403} and self._access.anonymous:
            return TargetError(
                f"no right to list {where}",
                advice="It is not public: leave --anonymous out, and set credentials.",
            )
        if status == 403:
            return TargetError(
                f"no right to list {where}",
                advice="Grant these credentials the role Storage Object Viewer on the bucket.",
            )
        if status and status != 401:
            return TargetError(f"{where} can't be listed: {status}", advice="Mend the URL, or --endpoint.")
        return CredentialsError(
            f"the credentials for {where} are refused ({status or type(error).__name__})",
            advice="Renew them: GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`.",
        )


def status_of(error: Exception) -> int:
    """Return the status of the server's answer to which an error belongs; 0 if there was none."""
    code = getattr(error, "code", None)
    return int(code) if isinstance(code, int) else 0


def trouble_of(error: Exception, *, begun: bool = False) -> FileError | RetryableError:
    """Return the error for one object, or for a listing in progress."""
    status = status_of(error)
    if status:
        return refused(status, "", begun=begun)
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return credentials_not_renewed(error)
    return RetryableError(f"the connection failed ({type(error).__name__})")
