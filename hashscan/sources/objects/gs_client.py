"""Who asks Google's storage, and where: clients with the same credentials, and what their errors mean.

Importing this module imports Google's libraries and requests, which they bring along, so others do so on
first use.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
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
from hashscan.model import Access, Reason
from hashscan.sources.base import FileTrouble
from hashscan.sources.objects.bodies import CLIENT, ONE_TRY
from hashscan.sources.objects.refusals import refused
from hashscan.sources.objects.store import Transient

if TYPE_CHECKING:
    from obstore.store import GCSConfig, GCSCredential, GCSStore

GOOGLES_OWN = "https://storage.googleapis.com"
_EMULATOR = "STORAGE_EMULATOR_HOST"
_NO_ASIDES = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
_READING = "https://www.googleapis.com/auth/devstorage.read_only"
_CHANGING = "https://www.googleapis.com/auth/devstorage.full_control"
"""With who may read an object, which is put back with it."""
_NOBODY = "none"

FAILURES = (GoogleAPICallError, RetryError, GoogleAuthError, requests.RequestException)
"""What the libraries raise when the service or the credentials are the trouble."""


class GoogleClients:
    """Makes the clients for one bucket when they are first needed; nothing is sent before."""

    def __init__(self, bucket: str, access: Access, *, changing: bool = False) -> None:
        """Look for credentials where Google's own tools look.

        Args:
            bucket: its name.
            access: how to reach the service.
            changing: whether objects are to be made and deleted.

        Raises:
            TargetError: there are none.
        """
        self.bucket = bucket
        self._access = access
        emulator = os.environ.get(_EMULATOR, "")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        self.url = (access.endpoint or emulator or GOOGLES_OWN).rstrip("/")
        """Of the service."""
        self.emulated = bool(emulator) and not access.endpoint
        """Whether it is one of Google's only in part: obstore demands more of it than such say."""
        # Its warnings are about machines of Google's, which this need not be.
        logging.getLogger("google.auth").setLevel(logging.CRITICAL)
        self._anonymous = access.anonymous or self.emulated
        if self._anonymous:
            self._credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
            self._project = _NOBODY
            return
        try:
            self._credentials, project = google.auth.default(scopes=(_CHANGING if changing else _READING,))
        except GoogleAuthError:
            # Its text may hold parts of a file with keys.
            raise CredentialsError(
                f"there are no credentials for gs://{bucket}",
                advice="Set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth application-default login`, "
                "or say --anonymous.",
            ) from None
        self._project = project or _NOBODY

    @cached_property
    def lister(self) -> storage.Client:
        """Google's own client."""
        # Or it asks about the bucket besides, in a thread that nobody ends, for which our role need not do.
        os.environ.setdefault(_NO_ASIDES, "true")
        return storage.Client(
            project=self._project,
            credentials=self._credentials,
            client_options={"api_endpoint": self.url},
            # Its own would try to renew the credentials of nobody, and leave connections open.
            _http=self.session if self._anonymous else None,
        )

    @cached_property
    def session(self) -> requests.Session:
        """What sends single requests."""
        # Nobody can't be authorized anew, which is what the other tries where it is refused.
        session: requests.Session = (
            requests.Session() if self._anonymous else AuthorizedSession(self._credentials)  # type: ignore[no-untyped-call]
        )
        adapter = HTTPAdapter(pool_maxsize=self._access.in_flight)
        for scheme in ("https://", "http://"):
            session.mount(scheme, adapter)
        return session

    @cached_property
    def obstore(self) -> GCSStore:
        """obstore's client."""
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
        """What obstore asks for when the last one ends."""
        credentials = self._credentials
        if not credentials.valid:
            credentials.refresh(Request())
        expiry = credentials.expiry
        return {"token": credentials.token, "expires_at": expiry and expiry.replace(tzinfo=UTC)}

    def close(self) -> None:
        """Let connections go."""
        for name in ("lister", "session"):
            made = self.__dict__.pop(name, None)
            if made is not None:
                made.close()
        self.__dict__.pop("obstore", None)

    def explained(self, error: Exception) -> HashscanError:
        """What went wrong before anything was listed, with the bucket and the remedy."""
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
    """Of the answer that an error was made of; 0 where there was none."""
    code = getattr(error, "code", None)
    return int(code) if isinstance(code, int) else 0


def trouble_of(error: Exception, *, begun: bool = False) -> FileTrouble | Transient:
    """What an error says of one object, or of a listing under way."""
    status = status_of(error)
    if status:
        return refused(status, "", begun=begun)
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        words = f"credentials could not be renewed ({type(error).__name__})"
        return Transient(words, reason=Reason.CREDENTIALS)
    return Transient(f"the connection failed ({type(error).__name__})")


def moment_ns(moment: datetime | None) -> int:
    """A moment since 1970; 0 where there is none."""
    return 0 if moment is None else int(moment.timestamp() * 1000) * 1_000_000
