"""Get access tokens of OAuth2 for mail servers (XOAUTH2), by a refresh token."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import urlencode

from msgspec import Struct

from hashscan.atomic_files import replace_file
from hashscan.errors import UnreachableError, UsageError
from hashscan.schema import InvalidDocumentError, decode_json, validated
from hashscan.settings.mailbox import OAuthSettings

_LOG = logging.getLogger(__name__)
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class _TokenAnswer(Struct):
    access_token: str
    refresh_token: str = ""


def access_token(oauth: OAuthSettings, ca_file: str | None = None) -> str:
    """Return a new access token; store the refresh token that comes with it, if it is another.

    Raises:
        UsageError: the endpoint gives none, or a secret is missing.
        UnreachableError: the endpoint can't be reached.
    """
    from hashscan import service_client
    from hashscan.lists.services.settings import ServiceSettings

    old = oauth.refresh_token.read("the refresh token of the mail server")
    fields = {"grant_type": "refresh_token", "refresh_token": old, "client_id": oauth.client_id}
    if oauth.client_secret:
        fields["client_secret"] = oauth.client_secret.read("the client secret of the mail server")
    if oauth.scope:
        fields["scope"] = oauth.scope
    settings = ServiceSettings(oauth.token_url, "token", ca_file=ca_file)
    client = service_client.ServiceClient(settings, {})
    try:
        answer = validated(decode_json(client("POST", "", urlencode(fields).encode(), _FORM)), _TokenAnswer)
    except service_client.ServiceBusyError as error:
        raise UnreachableError(
            f"the token endpoint {oauth.token_url} {error}", advice="Run the command again later."
        ) from error
    except (service_client.ServiceRefusedError, InvalidDocumentError) as error:
        raise UsageError(
            f"the token endpoint {oauth.token_url} gives no access token: {error}",
            advice="The refresh token may have expired: log in again, and store the new one.",
        ) from error
    finally:
        client.close()
    if answer.refresh_token and answer.refresh_token != old and oauth.refresh_token.file:
        try:
            replace_file(Path(oauth.refresh_token.file), f"{answer.refresh_token}\n".encode())
        except OSError as error:
            # Mails must not wait for it: most providers take the old one for some time.
            _LOG.warning(
                "can't store the new refresh token in %s: %s. Make its folder writable for this user.",
                oauth.refresh_token.file, error.strerror,
            )  # fmt: skip
    return answer.access_token


def xoauth2(user: str, token: str) -> str:
    """Return the response of XOAUTH2 by which a user logs in."""
    return f"user={user}\1auth=Bearer {token}\1\1"
