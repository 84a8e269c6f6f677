"""Errors about a whole bucket name it and the remedy, and nothing secret."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import botocore.exceptions as failures
import pytest

from hashscan.errors import HashscanError, TargetError, UnreachableError
from hashscan.model import DIRECT, Access
from hashscan.sources.objects.s3.client import S3Clients, explained
from tests.sources.objects.buckets import KEY_ID, SECRET, credentials

ANONYMOUS = Access(anonymous=True)


@pytest.fixture(autouse=True)
def _credentials() -> Iterator[None]:
    with credentials():
        yield


def answered(status: int, code: str) -> failures.ClientError:
    """As services word it: with parts of the request in it."""
    error = {"Code": code, "Message": f"{KEY_ID} {SECRET}", "StringToSign": SECRET}
    return failures.ClientError(
        {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "ListObjectsV2",
    )


@pytest.mark.parametrize(
    ("error", "kind", "remedy"),
    [
        (answered(404, "NoSuchBucket"), TargetError, "name"),
        (answered(403, "AccessDenied"), TargetError, "s3:ListBucket"),
        (answered(403, "InvalidAccessKeyId"), TargetError, "Renew"),
        (answered(403, "SignatureDoesNotMatch"), TargetError, "Renew"),
        (answered(400, "ExpiredToken"), TargetError, "Renew"),
        (answered(301, "PermanentRedirect"), TargetError, "--endpoint"),
        (answered(503, "SlowDown"), UnreachableError, "later"),
        (answered(500, "InternalError"), UnreachableError, "later"),
        (failures.EndpointConnectionError(endpoint_url=SECRET), UnreachableError, "network"),
        (failures.ReadTimeoutError(endpoint_url=SECRET), UnreachableError, "network"),
        (failures.SSLError(endpoint_url=SECRET, error=SECRET), UnreachableError, "network"),
        (failures.NoCredentialsError(), TargetError, "--anonymous"),
        (failures.PartialCredentialsError(provider="env", cred_var=SECRET), TargetError, "--anonymous"),
        (failures.CredentialRetrievalError(provider="x", error_msg=SECRET), TargetError, "--anonymous"),
        (failures.ParamValidationError(report=SECRET), TargetError, "URL"),
        (ValueError(f"Invalid endpoint: {SECRET}"), TargetError, "http"),
    ],
    ids=repr,
)
def test_errors_in_our_own_terms(error: Exception, kind: type[HashscanError], remedy: str) -> None:
    with pytest.raises(kind) as caught, explained("uploads", DIRECT):
        raise error
    said = f"{caught.value} {caught.value.remedy}"
    assert remedy in said
    assert "s3://uploads" in said or "--endpoint" in said
    assert SECRET not in said
    assert KEY_ID not in said
    # Nor is the library's error shown as the cause.
    assert caught.value.__suppress_context__


def test_without_rights_and_without_credentials() -> None:
    with pytest.raises(TargetError) as caught, explained("uploads", ANONYMOUS):
        raise answered(403, "AccessDenied")
    assert "--anonymous" in caught.value.remedy


def test_other_errors_are_defects() -> None:
    with pytest.raises(ValueError, match="something else"), explained("uploads", DIRECT):
        raise ValueError("something else")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    find = builtins.__import__

    def without(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        if name == "obstore":
            raise ModuleNotFoundError("No module named 'obstore'", name="obstore")
        return find(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TargetError, match="obstore") as caught:
        S3Clients("uploads", DIRECT)
    assert "hashscan[s3]" in caught.value.remedy


def test_obstore_is_left_out_where_only_botocore_knows_the_authority(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never() -> Any:
        raise AssertionError("not needed where the service is named")

    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    assert S3Clients("b", Access(endpoint="https://s3.example.org")).obstore(never) is not None
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/own.pem")
    assert S3Clients("b", Access(endpoint="https://s3.example.org")).obstore(never) is None
    assert S3Clients("b", Access(endpoint="http://127.0.0.1:1")).obstore(never) is not None


def test_credentials_are_those_of_botocore_and_renewed() -> None:
    clients = S3Clients("b", Access(endpoint="http://127.0.0.1:1"))
    given = clients._credential()
    assert (given["access_key_id"], given["secret_access_key"]) == (KEY_ID, SECRET)
    assert given["expires_at"] is not None
