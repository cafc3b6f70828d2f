"""Finished stages by key, on named bytes in a folder or a bucket; leases of those in training."""

from pathlib import Path

from orchestrator.planning.storage import S3Access, is_s3
from orchestrator.store.folder import FolderObjects
from orchestrator.store.objects import Objects, StoreError
from orchestrator.store.s3 import S3Objects
from orchestrator.store.stages import Store


def open_objects(uri: str, access: S3Access | None = None) -> Objects:
    """Return the named bytes at a place. Nothing is read or written yet.

    Args:
        uri: a folder, or ``s3://bucket/prefix``.
        access: how buckets are reached; None for what the environment says.

    Raises:
        StoreError: it is neither.
    """
    if is_s3(uri):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        access = access or S3Access()
        below = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        return S3Objects(bucket, below, access.endpoint_url, access.region)
    if "://" in uri:
        raise StoreError(f"{uri} cannot hold stages; expected a folder or s3://bucket/prefix")
    return FolderObjects(Path(uri))


def open_store(uri: str, access: S3Access | None = None) -> Store:
    """Return the store at a place; see :func:`open_objects`."""
    return Store(open_objects(uri, access))
