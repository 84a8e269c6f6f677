"""Credentials and TLS settings for a list's servers: token, login, client certificate, authorities.

Only the places are stored with a list. The secrets are read for each pull and never written or shown.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.secret_files import read_secret


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


_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class CredentialSources:
    """The places of the credentials for one list; None if not used."""

    token_file: str | None = None
    """File whose first line is a bearer token."""
    token_variable: str | None = None
    """Name of the environment variable that contains the token."""
    login_file: str | None = None
    """File whose first line is a user, a colon and a password."""
    login_variable: str | None = None
    certificate: str | None = None
    """PEM file of the client certificate for mutual TLS."""
    key: str | None = None
    """PEM file of the certificate's key, not encrypted; None if it is in the certificate's file."""

    def __post_init__(self) -> None:
        if sum(map(bool, self.authorizations)) > 1:
            raise UsageError(
                "one list can't have two tokens or logins",
                advice="Name one of --token-file, --token-variable, --login-file and --login-variable.",
            )
        if self.key and not self.certificate:
            raise UsageError(
                "there is a key but no certificate", advice="Name --client-certificate with --client-key."
            )
        for name in (self.token_variable, self.login_variable):
            if name and not _VARIABLE.fullmatch(name):
                raise UsageError(
                    "a credential's variable is not named as one",
                    advice="Give the variable's name, never the secret itself.",
                )

    @property
    def authorizations(self) -> tuple[str | None, ...]:
        """The places of the credentials for the Authorization header."""
        return self.token_file, self.token_variable, self.login_file, self.login_variable

    @property
    def any(self) -> bool:
        """True if there are credentials of any kind."""
        return any((*self.authorizations, self.certificate))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials as they were read."""

    authorization: str | None = field(default=None, repr=False)
    """Value of the Authorization header."""
    certificate: str | None = None
    key: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts that must never be shown."""

    def hidden(self, text: str) -> str:
        """Return the text with all secrets masked, in case a server has sent one back."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def check_files(places: CredentialSources) -> None:
    """Check that credentials files can be used; variables may not be set yet.

    Raises:
        UsageError: a file can't be read, is accessible to others, or has invalid content.
    """
    read_credentials(CredentialSources(token_file=places.token_file), {})
    read_credentials(CredentialSources(login_file=places.login_file), {})
    read_credentials(CredentialSources(certificate=places.certificate, key=places.key), {})


def read_credentials(places: CredentialSources, environ: Mapping[str, str]) -> Credentials:
    """Read the credentials for a pull.

    Args:
        places: where the credentials are.
        environ: the environment.

    Raises:
        UsageError: a credential is missing, can't be read, is accessible to others, or is not valid.
    """
    if places.certificate:
        # The file with the key must be private; a certificate alone may be readable by all.
        read_secret(Path(places.key or places.certificate), "the client key")
    authorization: str | None = None
    secrets: tuple[str, ...] = ()
    token = _secret(places.token_file, places.token_variable, environ, "the token")
    if token is not None:
        if not _TOKEN.fullmatch(token):
            raise UsageError(
                "the token is empty or holds characters that no token has",
                advice="Its place must hold the token alone, on the first line.",
            )
        authorization, secrets = f"Bearer {token}", (token,)
    login = _secret(places.login_file, places.login_variable, environ, "the login")
    if login is not None:
        user, colon, password = login.partition(":")
        if not colon or not user or not password:
            raise UsageError(
                "the login is not a user, a colon and a password",
                advice="Its place must hold USER:PASSWORD, on the first line.",
            )
        encoded = base64.b64encode(login.encode("utf-8", "surrogateescape")).decode("ascii")
        authorization, secrets = f"Basic {encoded}", (encoded, login, password)
    return Credentials(authorization, places.certificate, places.key, secrets)


def _secret(file: str | None, variable: str | None, environ: Mapping[str, str], what: str) -> str | None:
    """Return the first line of a private file, or a variable's value; None if neither is named."""
    if file:
        line = read_secret(Path(file), what).split(b"\n")[0].rstrip(b"\r")
        return line.decode("utf-8", "surrogateescape")
    if variable:
        if not environ.get(variable):
            raise UsageError(
                f"{what} should be in the environment variable {variable}, which is not set",
                advice="Set it for this command, or add the list again with other credentials.",
            )
        return environ[variable]
    return None
