"""Account and credential by environment variables."""

from __future__ import annotations

import os
from unittest import mock

import pytest

from hashscan.errors import TargetError
from hashscan.model import Access
from hashscan.sources.objects.az.client import AzureLogin, find_login

KEY = "c2VjcmV0LWtleQ=="
SAS = "sv=2026-01-01&sig=SECRET%3D"


def login(access: Access = Access(), **variables: str) -> AzureLogin:  # noqa: B008
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    with mock.patch.dict(os.environ, kept | variables, clear=True):
        return find_login("c", access)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": KEY},
            AzureLogin("https://acc.blob.core.windows.net", "acc", key=KEY),
        ),
        (
            {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_SAS_TOKEN": "?" + SAS},
            AzureLogin("https://acc.blob.core.windows.net", "acc", sas=SAS),
        ),
        (
            {
                "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=https;AccountName=acc;"
                f"AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
            },
            AzureLogin("https://acc.blob.core.chinacloudapi.cn", "acc", key=KEY),
        ),
        (
            {
                "AZURE_STORAGE_CONNECTION_STRING": f"BlobEndpoint=https://acc.blob.core.windows.net/;"
                f"SharedAccessSignature={SAS}"
            },
            AzureLogin("https://acc.blob.core.windows.net", "acc", sas=SAS),
        ),
    ],
)
def test_variables(variables: dict[str, str], expected: AzureLogin) -> None:
    found = login(**variables)
    assert found == expected
    assert KEY not in repr(found)
    assert "SECRET" not in repr(found)


def test_an_endpoint_goes_before_the_environment() -> None:
    here = Access(endpoint="http://127.0.0.1:10000/acc")
    assert login(here, AZURE_STORAGE_KEY=KEY) == AzureLogin("http://127.0.0.1:10000/acc", "acc", key=KEY)
    there = Access(endpoint="https://acc.blob.example.org")
    assert login(there, AZURE_STORAGE_KEY=KEY).account == "acc"


def test_anonymous_takes_no_credential() -> None:
    found = login(Access(anonymous=True), AZURE_STORAGE_ACCOUNT="acc", AZURE_STORAGE_KEY=KEY)
    assert found == AzureLogin("https://acc.blob.core.windows.net", "acc")
    assert found.for_sdk is None
    assert found.for_obstore is None


@pytest.mark.parametrize(
    "text",
    [
        "SECRET",
        "AccountKey",
        "BlobEndpoint=SECRET;AccountKey=x",
        "BlobEndpoint=https://SECRET@h;AccountKey=x",
    ],
)
def test_what_makes_no_sense_is_not_repeated(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        login(AZURE_STORAGE_CONNECTION_STRING=text)
    assert "SECRET" not in f"{caught.value} {caught.value.remedy}"
