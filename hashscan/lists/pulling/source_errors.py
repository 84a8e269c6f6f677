"""Distinguishes a source that can't be reached from one that can't be trusted, with advice for each.

Importing this module imports tuf, so other modules import it on first use.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError

from hashscan.errors import ListTrustError, UnreachableError
from hashscan.lists.pulling.fetch import TooLongError
from hashscan.lists.tuf_api import DeserializationError
from hashscan.timefmt import utc_now

CHECK_CLOCK = (
    "Check this machine's clock. If it is right, ask the list's owner to release anew; the last good version "
    "stays in use."
)
_CREDENTIALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_OUT_OF_TIME = frozenset({9, 10})
"""OpenSSL's codes for a certificate that is not yet or no longer valid."""


@contextmanager
def source_errors(location: str, hidden: Callable[[str], str] = str) -> Iterator[None]:
    """Convert the errors of a source.

    Args:
        location: location of the source, for the message.
        hidden: masks secrets in a text.

    Raises:
        UnreachableError: there was no answer, or it is not TUF metadata.
        ListTrustError: the answer is not what the list's owner signed.
    """
    try:
        yield
    except DownloadError as error:
        if isinstance(error, TooLongError) and not error.unsigned:
            raise _untrusted(location, error, hidden) from error
        cause = _innermost(error)
        words = _shown(str(cause) or "no answer in time", hidden)
        raise UnreachableError(
            f"{location} gives no usable answer: {words}", advice=_advice(error, cause)
        ) from error
    except DeserializationError as error:
        raise UnreachableError(
            f"{location} answers with something else than a list's metadata",
            advice="Check the address, and that no proxy or login page answers in its place.",
        ) from error
    except ExpiredMetadataError as error:
        raise ListTrustError(
            f"what {location} offers has expired by this machine's clock, {utc_now()}: "
            f"{_shown(str(error), hidden)}",
            advice=CHECK_CLOCK,
        ) from error
    except RepositoryError as error:
        raise _untrusted(location, error, hidden) from error


def _untrusted(location: str, error: Exception, hidden: Callable[[str], str]) -> ListTrustError:
    return ListTrustError(f"what {location} offers can't be trusted: {_shown(str(error), hidden)}")


def _advice(error: DownloadError, cause: BaseException) -> str | None:
    """Return advice for a source without a usable answer; None for the default advice."""
    if isinstance(error, DownloadHTTPError) and error.status_code in _CREDENTIALS:
        return "Check the list's credentials and the address; the last good version stays in use."
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in _OUT_OF_TIME:
            return (
                "Check this machine's clock. If it is right, tell the list's owner to renew the certificate."
            )
        return "Check the address. If the server is certified by an authority of its own, name its --ca-file."
    return None


def _innermost(error: BaseException) -> BaseException:
    """Return the root cause of a failure; urllib3 wraps exceptions in three ways."""
    while True:
        wrapped = (getattr(error, "reason", None), error.__cause__, *error.args[:1])
        inner = next((each for each in wrapped if isinstance(each, BaseException)), None)
        if inner is None:
            return error
        error = inner


def _shown(text: str, hidden: Callable[[str], str]) -> str:
    """Return a text, of which a server may have written a part, as one printable line without secrets."""
    return ascii(hidden(text))[1:-1]
