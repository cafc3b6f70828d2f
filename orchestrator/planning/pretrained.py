"""Pretrained weights that a method asks for, from wherever the sweep file says they are."""

import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kd_models.methods.base import PretrainedWeights, WeightsError, WeightsMissing
from kd_models.methods.registry import method_of
from orchestrator.planning.spec import SweepSpec


def read_pretrained(spec: SweepSpec, *, download: bool = True) -> PretrainedWeights:
    """Return the weights that the settings of a sweep's method name.

    What the method itself does not know, ``s3://bucket/key``, ``http(s)://...`` and
    ``file:///...``, is fetched for it, and not kept.

    Args:
        spec: the sweep, whose method has pretrained weights.
        download: whether they may be fetched if they are not there.

    Raises:
        WeightsMissing: they are not there and may not be fetched.
        WeightsError: they cannot be had, or are not those that the method expects.
    """
    source, read = spec.settings.pretrained, method_of(spec.method).read_pretrained
    assert source is not None
    assert read is not None
    downloads = spec.storage.data_path
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
            _fetch(source, file)
        except Exception as error:  # whatever the network, the address or the permissions are
            raise WeightsError(
                f"no pretrained weights from {source} ({type(error).__name__}: {error}); give "
                "their path on this machine instead"
            ) from None
        try:
            return read(str(file), downloads, download)
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(file), source)) from None


def _fetch(source: str, file: Path) -> None:
    uri = urlsplit(source)
    if uri.scheme == "s3":
        import boto3

        with closing(boto3.client("s3")) as s3:
            s3.download_file(uri.netloc, uri.path.lstrip("/"), str(file))
    else:
        from torch.hub import download_url_to_file

        download_url_to_file(source, str(file), progress=False)
