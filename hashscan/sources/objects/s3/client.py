"""Create S3 clients with the same credentials: botocore for exact keys, obstore for speed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hashscan.errors import CredentialsError, HashscanError, TargetError, UnreachableError
from hashscan.model import Access
from hashscan.sources.objects.listing import THREADS
from hashscan.sources.objects.obstore_reader import CLIENT, ONE_TRY, READ_SECONDS
from hashscan.sources.objects.store import extra_missing

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential, S3Store

_DEFAULT_REGION = "us-east-1"
"""The region that services other than Amazon's usually expect, and where Amazon reports the right one."""

_CREDENTIAL_LIFETIME = timedelta(minutes=10)
"""Lifetime of a credential for obstore; botocore renews its own at least this long before they expire."""


class S3Clients:
    """The two clients of one bucket, created at the first use; nothing is sent before."""

    def __init__(self, bucket: str, access: Access) -> None:
        """Find settings and credentials where the AWS command line looks for them."""
        try:
            import botocore.session
            import obstore  # noqa: F401
        except ModuleNotFoundError as error:
            raise extra_missing(f"s3://{bucket}", "s3", error) from error
        self.bucket = bucket
        self._access = access
        with explained(bucket, access):
            self._session = botocore.session.get_session()
            # Trying a dozen formats for every time would take longer than everything else in a listing.
            factory = self._session.get_component("response_parser_factory")
            factory.set_parser_defaults(timestamp_parser=str)
            # Searching the folders of four hundred services would take a fifth of the time to create a
            # client; a missing one is found when it is read.
            loader = self._session.get_component("data_loader")
            loader.list_available_services = lambda *_, **__: _folders(loader.search_paths)
            self._credentials = None if access.anonymous else self._session.get_credentials()
            if self._credentials is None and not access.anonymous:
                raise CredentialsError(
                    f"there are no credentials for s3://{bucket}",
                    advice="Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret, or say --anonymous.",
                )

    def botocore(self, *, tries: int, region: str | None = None) -> Any:
        """Create a client of botocore; a region is given if it is known to differ from the configured one."""
        import botocore.config
        from botocore import UNSIGNED

        access = self._access
        config = botocore.config.Config(
            connect_timeout=10,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": tries, "mode": "standard"},
            max_pool_connections=access.concurrency + THREADS,
            signature_version=UNSIGNED if access.anonymous else None,
            # For services other than Amazon's, the bucket is part of the path: it may have no domain of its
            # own.
            s3={"addressing_style": "path" if access.endpoint else "auto"},
            # We compute enough digests ourselves.
            response_checksum_validation="when_required",
            # Services other than Amazon's may not know these checksums; uploaded objects are read again.
            request_checksum_calculation="when_required",
        )
        with explained(self.bucket, access):
            client = self._session.create_client(
                "s3", region_name=region or self._region(), endpoint_url=access.endpoint, config=config
            )
        # By the parameter of this name, botocore would compare the checksum, too, and fail in another way.
        client.meta.events.register("before-call.s3.GetObject", _ask_for_checksum)
        return client

    def obstore(self, client: Callable[[], Any]) -> S3Store | None:
        """Create a client of obstore for the same service as botocore's; None if it can't behave the same.
        `client` returns a client from `botocore` for the bucket's own region: creating one takes longer than
        reading a hundred objects, so it is called only if no endpoint is given."""
        from obstore.store import S3Store

        if self._access.endpoint is None:
            endpoint, region = client().meta.endpoint_url, client().meta.region_name
        else:
            endpoint, region = self._access.endpoint, self._region()
        own_authority = self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if own_authority and endpoint.startswith("https://"):
            # obstore would trust only the system's certificate authorities.
            return None
        config: S3Config = {
            "endpoint": endpoint,
            "region": region,
            "virtual_hosted_style_request": False,
        }
        if self._access.anonymous:
            config["skip_signature"] = True
        return S3Store(
            self.bucket,
            config=config,
            client_options={**CLIENT, "allow_http": endpoint.startswith("http://")},
            retry_config=ONE_TRY,
            credential_provider=None if self._access.anonymous else self._credential,
        )

    def reader(self) -> Any:
        """Create a client of botocore for the bucket's own region, without retries."""
        client = self.botocore(tries=1)
        region = self._bucket_region(client)
        if region in {None, client.meta.region_name}:
            return client
        client.close()
        return self.botocore(tries=1, region=region)

    def _bucket_region(self, client: Any) -> str | None:
        """Return the region of an Amazon bucket; None if it doesn't matter or is unknown."""
        from botocore.exceptions import BotoCoreError, ClientError

        if client.meta.endpoint_url and "amazonaws.com" not in client.meta.endpoint_url:
            return None
        try:
            headers = client.head_bucket(Bucket=self.bucket)["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as error:
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        except BotoCoreError:
            return None
        region = headers.get("x-amz-bucket-region")
        return region if isinstance(region, str) else None

    def _region(self) -> str:
        return self._session.get_config_variable("region") or _DEFAULT_REGION

    def _credential(self) -> S3Credential:
        """Return a credential for obstore, which asks for one every few minutes."""
        assert self._credentials is not None
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIAL_LIFETIME,
        }


def _ask_for_checksum(params: dict[str, Any], **others: Any) -> None:
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"


def _folders(paths: Iterable[str]) -> list[str]:
    return [name for path in paths if os.path.isdir(path) for name in os.listdir(path)]


@contextmanager
def explained(bucket: str, access: Access) -> Iterator[None]:
    """Convert errors before a listing begins to errors that name the bucket and the remedy."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status, code = answer_of(error)
        raise _refused(bucket, access, status, code) from None
    except BotoCoreError as error:
        raise _failed(bucket, access, error) from None
    except ValueError as error:
        if "endpoint" not in str(error).lower():
            raise
        raise TargetError("--endpoint is no URL", advice="Write http:// or https:// and a host.") from None


def is_credentials_error(error: Exception) -> bool:
    """Return True if a request failed because of missing credentials."""
    import botocore.exceptions as failures

    return isinstance(
        error,
        failures.CredentialRetrievalError
        | failures.NoCredentialsError
        | failures.PartialCredentialsError
        | failures.TokenRetrievalError
        | failures.SSOError,
    )


def answer_of(error: Any) -> tuple[int, str]:
    """Return status and code of the server's answer to which a botocore error belongs."""
    response = error.response
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status), str(response.get("Error", {}).get("Code", ""))


def _refused(bucket: str, access: Access, status: int, code: str) -> HashscanError:
    said = code if code.isalnum() else str(status)
    if code == "NoSuchBucket" or status == 404:
        return TargetError(
            f"there is no bucket s3://{bucket}", advice="Mend its name, or name its service with --endpoint."
        )
    if status >= 500 or status == 429:
        return UnreachableError(
            f"the server of s3://{bucket} can't list it now: {said}", advice="Try again later."
        )
    if code in {"AccessDenied", "AllAccessDisabled"} or (status == 403 and not code.isalpha()):
        advice = (
            "It is not public: leave --anonymous out, and set credentials."
            if access.anonymous
            else "Grant these credentials s3:ListBucket and s3:GetObject, for --all-versions "
            "s3:ListBucketVersions and s3:GetObjectVersion too."
        )
        return TargetError(f"no right to list s3://{bucket}", advice=advice)
    if status in {400, 401, 403}:
        return CredentialsError(
            f"the credentials for s3://{bucket} are refused: {said}",
            advice="Renew them; see which are used with `aws sts get-caller-identity`.",
        )
    return TargetError(f"s3://{bucket} can't be listed: {said}", advice="Mend the URL, or --endpoint.")


def _failed(bucket: str, access: Access, error: Exception) -> HashscanError:
    import botocore.exceptions as failures

    where = access.endpoint or "its service"
    if isinstance(error, failures.HTTPClientError | failures.ConnectionError):
        return UnreachableError(
            f"{where} can't be reached for s3://{bucket} ({type(error).__name__})",
            advice="Check the network and --endpoint, then try again.",
        )
    if isinstance(error, failures.ParamValidationError | failures.InvalidRegionError):
        return TargetError(f"s3://{bucket} names no bucket or region", advice="Mend the URL.")
    # The error concerns a profile, a role, a token or a metadata service; its text may contain parts of them.
    return CredentialsError(
        f"there are no usable credentials for s3://{bucket} ({type(error).__name__})",
        advice="Mend what `aws configure list` shows, or say --anonymous.",
    )
