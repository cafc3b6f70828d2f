"""Named bytes in a bucket of S3, or of whatever speaks its protocol."""

import contextlib
import io
import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from orchestrator.s3_client import s3_client
from orchestrator.store.objects import StoreError, in_parallel

if TYPE_CHECKING:
    from botocore.client import BaseClient

T = TypeVar("T")

_PART_BYTES = 16 << 20
"""what is larger goes in parts of this size"""
_LISTED_FROM = 200
"""from so many names on, all are listed (a thousand a request) rather than asked for one by one"""
_MISSING = ("404", "NoSuchKey", "NotFound")
_TAKEN = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")
_UNCONDITIONAL = ("501", "NotImplemented")

_CHECK = (
    "check the endpoint (storage.s3.endpoint_url or AWS_ENDPOINT_URL), the region and the "
    "credentials"
)
_PERMISSIONS = (
    "the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there"
)
_REMEDIES = {
    "NoSuchBucket": "make the bucket, or name another in storage.root",
    "AccessDenied": _PERMISSIONS,
    # Of HEAD, whose answers have no body that says more than the status.
    "400": "check the region and the credentials, which may have expired",
    "403": f"check the access key, the secret key and the clock ({_PERMISSIONS})",
    "InvalidAccessKeyId": "the endpoint does not know these credentials",
    "SignatureDoesNotMatch": "the secret key is not that of the access key",
    "RequestTimeTooSkewed": "set this machine's clock (chrony or systemd-timesyncd)",
}


class S3Objects:
    """Named bytes below a prefix of a bucket.

    Credentials are those that boto3 finds: the environment, ``~/.aws``, a machine's role.

    Args:
        bucket: its name.
        prefix: what all names begin with there; ends in a slash, or is empty.
        endpoint_url: None for AWS, or where ``AWS_ENDPOINT_URL`` says.
        region: None for what boto3 finds.
    """

    def __init__(
        self, bucket: str, prefix: str, endpoint_url: str | None = None, region: str | None = None
    ) -> None:
        self.bucket, self.prefix = bucket, prefix
        self._endpoint_url, self._region = endpoint_url, region

    def __getstate__(self) -> dict[str, Any]:
        # A client cannot travel; each process makes its own.
        return {name: value for name, value in self.__dict__.items() if name != "_client"}

    @property
    def uri(self) -> str:
        """Return ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def seconds_ahead(self) -> float:
        """Return by how many seconds this machine's clock is ahead of the server's.

        Negative where it is behind; 0 where the server does not tell the time.
        """
        date = self._list_one("probes/")["ResponseMetadata"]["HTTPHeaders"].get("date")
        return time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0

    @cached_property
    def _client(self) -> "BaseClient":
        try:
            return s3_client(self._endpoint_url, self._region)
        except Exception as error:  # of a profile, a region or an endpoint that cannot be used
            raise StoreError(
                f"{self.uri} cannot be reached: {type(error).__name__}: {error}; {_CHECK}"
            ) from None

    def check_writable(self) -> None:
        """Write, read and remove an object; see ``Objects``."""
        probe, data = f"probes/{uuid4().hex}", b"\x00written\r\n\xff"
        self.put(probe, data)
        try:
            found = self.get(probe)
        except KeyError:
            found = None
        if found != data:
            raise StoreError(
                f"{self.uri} does not give back what was written: {data!r} came back as {found!r}; "
                "the server does not speak S3 as boto3 does"
            )
        self.delete(probe)

    def put(self, name: str, data: bytes) -> None:
        """Put an object, a large one in parts; see ``Objects``."""
        if len(data) <= _PART_BYTES:
            self._ask("written", name, self._client.put_object, Body=data)
            return
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES)
        self._ask(
            "written", name, self._client.upload_fileobj, Fileobj=io.BytesIO(data), Config=config
        )

    def put_new(self, name: str, data: bytes) -> bool:
        """Put an object unless there is one; see ``Objects``."""
        # Asked first, for endpoints that ignore the condition.
        if self._is_there(name):
            return False
        try:
            self._ask("written", name, self._client.put_object, Body=data, IfNoneMatch="*")
        except _Refused as refused:
            if refused.code in _TAKEN:
                return False
            if refused.code not in _UNCONDITIONAL:
                raise
            self.put(name, data)
        return True

    def has_conditions(self) -> bool:
        """Write an object twice under the condition that there is none; see ``Objects``."""
        probe = f"probes/{uuid4().hex}"
        self.put(probe, b"first")
        try:
            self._ask("written", probe, self._client.put_object, Body=b"second", IfNoneMatch="*")
        except _Refused as refused:
            if refused.code not in _UNCONDITIONAL and refused.code not in _TAKEN:
                raise
            return refused.code in _TAKEN
        finally:
            self.delete(probe)
        return False

    def get(self, name: str) -> bytes:
        """Return an object's bytes; see ``Objects``."""

        def read(**where: str) -> bytes:
            with contextlib.closing(self._client.get_object(**where)["Body"]) as body:
                content: bytes = body.read()
                return content

        try:
            return self._ask("read", name, read)
        except _Refused as refused:
            if refused.code in _MISSING:
                raise KeyError(name) from None
            raise

    def existing(self, names: Iterable[str]) -> frozenset[str]:
        """Return which objects there are; see ``Objects``."""
        wanted = frozenset(names)
        if len(wanted) < _LISTED_FROM:
            asked = in_parallel(self._is_there, wanted)
            found = frozenset(name for name, is_there in asked if is_there)
            if wanted and not found:
                self._list_one("")  # S3 says "not there" as well where the bucket is not
            return found
        return wanted & frozenset(
            name
            for folder in {name.partition("/")[0] for name in wanted}
            for name in self.names(f"{folder}/")
        )

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the objects below a prefix; see ``Objects``."""

        def list_all(Bucket: str, Key: str) -> list[Any]:
            return list(
                self._client.get_paginator("list_objects_v2").paginate(Bucket=Bucket, Prefix=Key)
            )

        for page in self._ask("listed", prefix, list_all):
            for entry in page.get("Contents", ()):
                yield entry["Key"].removeprefix(self.prefix)

    def delete(self, name: str) -> None:
        """Remove an object; see ``Objects``."""
        self._ask("deleted", name, self._client.delete_object)

    def _is_there(self, name: str) -> bool:
        try:
            self._ask("read", name, self._client.head_object)
        except _Refused as refused:
            if refused.code in _MISSING:
                return False
            raise
        return True

    def _list_one(self, prefix: str) -> Any:
        def ask(Bucket: str, Key: str) -> Any:
            return self._client.list_objects_v2(Bucket=Bucket, Prefix=Key, MaxKeys=1)

        return self._ask("listed", prefix, ask)

    def _ask(self, done: str, name: str, request: Callable[..., T], **more: Any) -> T:
        """Make a request about an object.

        Args:
            done: what the request does to it, for the error.
            name: of the object.
            request: a method of the client that is given ``Bucket`` and ``Key``.
            more: what else it is given.

        Raises:
            StoreError: it failed.
        """
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return request(Bucket=self.bucket, Key=f"{self.prefix}{name}", **more)
        except ClientError as error:
            raise _Refused(f"{self.uri}/{name} cannot be {done}", error.response) from None
        except (BotoCoreError, Boto3Error, OSError) as error:
            raise StoreError(
                f"{self.uri}/{name} cannot be {done}: {type(error).__name__}: {error}; {_CHECK}"
            ) from None


class _Refused(StoreError):
    """The server answered that it will not."""

    def __init__(self, what: str, response: Any) -> None:
        error = response.get("Error", {})
        self.code = str(error.get("Code", ""))
        remedy = _REMEDIES.get(self.code, "")
        super().__init__(
            f"{what}: {self.code} {error.get('Message', '')}".rstrip()
            + (f"; {remedy}" if remedy else "")
        )

    def __reduce__(self) -> Any:
        return StoreError, (str(self),)
