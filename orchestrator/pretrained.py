"""A pretrained teacher's weights, from wherever the sweep file says they are."""

import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kd_models.networks.vgg_weights import TeacherWeights, WeightsError, read_teacher


def read_pretrained(source: str, downloads: Path, *, download: bool = True) -> TeacherWeights:
    """Return what ``source`` names: as ``read_teacher``, or a file at a URI.

    Args:
        source: also ``s3://bucket/key``, ``http(s)://...`` or ``file:///...``.
        downloads: as for ``read_teacher``; what a URI names is not kept.

    Raises:
        WeightsError: as ``read_teacher``, or nothing can be fetched from there.
    """
    uri = urlsplit(source)
    if uri.scheme == "file":
        return read_teacher(unquote(uri.path), downloads)
    if not uri.netloc:
        return read_teacher(source, downloads, download=download)
    if not download:
        raise WeightsError(f"{source} is not fetched")
    name = Path(unquote(uri.path)).name
    if not name:
        raise WeightsError(
            f"no teacher weights from {source} (it names no file); give teacher.weights the whole "
            "address of a VGG16 state dict, or imagenet1k_v1"
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        try:
            if uri.scheme == "s3":
                import boto3

                with closing(boto3.client("s3")) as s3:
                    s3.download_file(uri.netloc, uri.path.lstrip("/"), str(file))
            else:
                from torch.hub import download_url_to_file

                download_url_to_file(source, str(file), progress=False)
        except Exception as error:  # whatever the network, the address or the permissions are
            raise WeightsError(
                f"no teacher weights from {source} ({type(error).__name__}: {error}); give "
                "teacher.weights the path of a VGG16 state dict, or imagenet1k_v1"
            ) from None
        try:
            return read_teacher(str(file), downloads)
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(file), source)) from None
