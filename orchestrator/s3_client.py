"""How every request to S3 is made."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.client import BaseClient

AT_ONCE = 16
"""requests at the same time"""
MOST_TRIES = 6
"""of a request that fails for no fault of its own"""


def s3_client(endpoint_url: str | None, region: str | None) -> "BaseClient":
    """Return a client that several threads may use.

    Args:
        endpoint_url: None for AWS, or where ``AWS_ENDPOINT_URL`` says.
        region: None for what boto3 finds.
    """
    import boto3
    from botocore.config import Config

    # A session of its own: the default one is not safe in threads, and keeps credentials.
    return boto3.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        config=Config(
            retries={"max_attempts": MOST_TRIES, "mode": "standard"},
            connect_timeout=10,
            max_pool_connections=AT_ONCE,
            # Some servers refuse the checksums that boto3 adds by default; ours are our own.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
