"""Pretrained weights that a method asks for, from wherever the sweep file says they are."""

import tempfile
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from kd_models.methods.base import Method, PretrainedWeights, WeightsError, WeightsMissing
from orchestrator.planning.storage import S3Access
from orchestrator.s3_client import s3_client


def read_pretrained(
    method: Method,
    source: str,
    downloads: Path,
    access: S3Access | None = None,
    *,
    download: bool = True,
) -> PretrainedWeights:
    """Return the weights that ``source`` names.

    Args:
        method: the method that asks for them.
        source: what the method itself knows, or ``s3://bucket/key``, ``http(s)://...`` or
            ``file:///...``, which are fetched for it and not kept.
        downloads: the folder that the method's own downloads are kept in.
        access: how buckets are reached; None for what the environment says.
        download: whether they may be fetched if they are not there.

    Raises:
        WeightsMissing: they are not there and may not be fetched.
        WeightsError: they cannot be had, or are not those that the method expects.
    """
    read = method.read_pretrained
    assert read is not None
    uri = urlsplit(source)
    if uri.scheme == "file":
        return read(unquote(uri.path), downloads, download)
    if not uri.netloc:
        return read(source, downloads, download)
    if not download:
        raise WeightsMissing(f"{source} is not fetched")
    name = Path(unquote(uri.path)).name
    if not name:
        raise WeightsError(
            f"no pretrained weights from {source} (it names no file); give the whole address"
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        try:
            _fetch(source, file, access or S3Access())
        except Exception as error:  # whatever the network, the address or the permissions are
            raise WeightsError(
                f"no pretrained weights from {source} ({type(error).__name__}: {error}); give "
                "their path on this machine instead"
            ) from None
        try:
            return read(str(file), downloads, download)
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(file), source)) from None


def _fetch(source: str, file: Path, access: S3Access) -> None:
    uri = urlsplit(source)
    if uri.scheme == "s3":
        with closing(s3_client(access.endpoint_url, access.region)) as s3:
            s3.download_file(uri.netloc, uri.path.lstrip("/"), str(file))
    else:
        from torch.hub import download_url_to_file

        try:
            download_url_to_file(source, str(file), progress=False)
        except HTTPError as refusal:
            refusal.close()  # it holds the connection
            raise
