"""TLS settings from PEM files: trusted authorities for a list's servers, and our client certificate."""

from __future__ import annotations

import ssl

from hashscan.errors import UsageError


def tls_context(
    ca_file: str | None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Return settings for connections: TLS 1.2 or later, with certificate and host name checked.

    Args:
        ca_file: the only trusted authorities; None uses the system's.
        certificate: client certificate, sent to servers that ask for one.
        key: key of the certificate; None if both are in one file.

    Raises:
        UsageError: a file can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is an OSError too
        raise UsageError(
            f"{ca_file} holds no certificates that can be used: {error.strerror}",
            advice="Name a PEM file of the authority that certifies the list's server.",
        ) from error
    if certificate:
        try:
            # Otherwise OpenSSL would ask for the password of an encrypted key at the terminal, and cron has
            # none.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"the client certificate {certificate} can't be used with its key: {words}",
                advice="Name PEM files of a certificate and of its own key, which must not be encrypted.",
            ) from error
    return context
