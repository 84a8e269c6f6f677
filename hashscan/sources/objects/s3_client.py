"""Clients for S3 with the same credentials: botocore's to be exact, obstore's to be fast."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hashscan.errors import CredentialsError, HashscanError, TargetError, UnreachableError
from hashscan.model import Access
from hashscan.sources.objects.bodies import CLIENT, ONE_TRY, READ_SECONDS
from hashscan.sources.objects.listing import THREADS

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential, S3Store

_DEFAULT_REGION = "us-east-1"
"""What services that are not Amazon's usually expect, and where Amazon's own say what the right one is."""

_KEEP = timedelta(minutes=10)
"""botocore renews credentials at least so long before they end."""


class S3Clients:
    """Makes both clients of one bucket when they are first needed; nothing is sent before."""

    def __init__(self, bucket: str, access: Access) -> None:
        """Look for settings and credentials where the AWS command line looks.

        Raises:
            TargetError: the library is missing, or there are no credentials.
        """
        try:
            import botocore.session
            import obstore  # noqa: F401
        except ModuleNotFoundError as error:
            raise TargetError(
                f"s3://{bucket} needs the Python package {error.name}",
                advice="Install it with `pip install 'hashscan[s3]'`.",
            ) from error
        self.bucket = bucket
        self._access = access
        with explained(bucket, access):
            self._session = botocore.session.get_session()
            # To have every time parsed in a dozen formats would take longer than all else in a listing.
            factory = self._session.get_component("response_parser_factory")
            factory.set_parser_defaults(timestamp_parser=str)
            # And to look into the folders of four hundred services whether they hold what is asked for, a
            # fifth of the time that a client takes; it finds out what is missing when it reads.
            loader = self._session.get_component("data_loader")
            loader.list_available_services = lambda *_, **__: _folders(loader.search_paths)
            self._credentials = None if access.anonymous else self._session.get_credentials()
            if self._credentials is None and not access.anonymous:
                raise CredentialsError(
                    f"there are no credentials for s3://{bucket}",
                    advice="Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret, or say --anonymous.",
                )

    def botocore(self, *, tries: int, region: str | None = None) -> Any:
        """A client of botocore.

        Args:
            tries: of each request.
            region: where it is known to differ from what is set.

        Raises:
            TargetError: the endpoint is none.
        """
        import botocore.config
        from botocore import UNSIGNED

        access = self._access
        config = botocore.config.Config(
            connect_timeout=10,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": tries, "mode": "standard"},
            max_pool_connections=access.in_flight + THREADS,
            signature_version=UNSIGNED if access.anonymous else None,
            # Buckets as a part of the path where the service isn't Amazon's own: it may have no such domain.
            s3={"addressing_style": "path" if access.endpoint else "auto"},
            # We compute digests enough.
            response_checksum_validation="when_required",
            # Services that are not Amazon's may not know them; what is sent is read again.
            request_checksum_calculation="when_required",
        )
        with explained(self.bucket, access):
            return self._session.create_client(
                "s3", region_name=region or self._region(), endpoint_url=access.endpoint, config=config
            )

    def obstore(self, client: Callable[[], Any]) -> S3Store | None:
        """A client of obstore for the same service as botocore's, or None where it can't do the same.

        Args:
            client: gives a client from `botocore` for the bucket's own region. To make one takes longer than
                to read a hundred objects, so it is asked only where nobody named the service.
        """
        from obstore.store import S3Store

        if self._access.endpoint is None:
            endpoint, region = client().meta.endpoint_url, client().meta.region_name
        else:
            endpoint, region = self._access.endpoint, self._region()
        own_authority = self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if own_authority and endpoint.startswith("https://"):
            # obstore would trust the system's authorities only.
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
        """A client of botocore for the bucket's own region, which tries everything once."""
        client = self.botocore(tries=1)
        region = self._bucket_region(client)
        if region in {None, client.meta.region_name}:
            return client
        client.close()
        return self.botocore(tries=1, region=region)

    def _bucket_region(self, client: Any) -> str | None:
        """Where a bucket of Amazon's is; None where that makes no difference, or nobody says."""
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
        """What obstore asks for every few minutes."""
        assert self._credentials is not None
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _KEEP,
        }


def _folders(paths: Iterable[str]) -> list[str]:
    return [name for path in paths if os.path.isdir(path) for name in os.listdir(path)]


@contextmanager
def explained(bucket: str, access: Access) -> Iterator[None]:
    """Turn what goes wrong before anything is listed into an error that names the bucket and the remedy."""
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


def about_credentials(error: Exception) -> bool:
    """Whether there is no answer because there were no credentials to ask with."""
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
    """Status and code of an answer that botocore made an error of."""
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
    # Of a profile, a role, a token or a metadata service; the text may hold parts of them.
    return CredentialsError(
        f"there are no usable credentials for s3://{bucket} ({type(error).__name__})",
        advice="Mend what `aws configure list` shows, or say --anonymous.",
    )
