"""Makes the bucket of the object store, if there is none: `python -m app.bucket`."""

from __future__ import annotations

import sys
import time

import structlog
import urllib3
from minio import Minio
from minio.error import MinioException

from app.core.config import ConfigError, Settings, load_settings
from app.core.logging import configure_logging

WAIT_S = 30.0
RETRY_EVERY_S = 0.2
TIMEOUT = urllib3.Timeout(connect=0.5, read=2.0)

log = structlog.get_logger(component="storage")


def store_client(settings: Settings, *, connections: int = 1) -> Minio:
    """Return a client for one-shots: short limits and no retry, so that its caller decides how long it waits."""
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        region="us-east-1",
        http_client=urllib3.PoolManager(timeout=TIMEOUT, retries=False, maxsize=connections),
    )


def ensure_bucket(client: Minio, bucket: str, *, wait_s: float = WAIT_S) -> bool:
    """Make the bucket unless it exists; tell whether it was made. A store that is still starting is waited for.

    Raises what the last attempt raised when `wait_s` is over.
    """
    give_up = time.monotonic() + wait_s
    while True:
        try:
            if client.bucket_exists(bucket):
                return False
            client.make_bucket(bucket)
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            # Somebody else may make it between the two calls; the next round sees that.
            if time.monotonic() + RETRY_EVERY_S > give_up:
                raise
            log.debug("bucket_not_ready", error_type=type(error).__name__)
            time.sleep(RETRY_EVERY_S)
        else:
            return True


def main() -> int:
    """Return the exit code: 0 when the bucket is there."""
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    try:
        made = ensure_bucket(store_client(settings), settings.s3_bucket)
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        sys.stderr.write(
            f"bucket {settings.s3_bucket!r}: the store at {settings.s3_endpoint} did not make it within "
            f"{WAIT_S:g} s ({type(error).__name__}); start the store, or correct S3_ENDPOINT and the S3 keys\n"
        )
        return 1
    log.info("bucket_ready", bucket=settings.s3_bucket, made=made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
