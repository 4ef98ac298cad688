"""One object of a prefix, read as a worker reads it, for `backhaul doctor`: a byte and no more."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.core.checksums import S3Checksums
from backhaul.core.errors import BackhaulError
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint

# A name that no object has: its GET is answered 404 where reading is allowed, and 403 where not.
ABSENT = ".backhaul-doctor-no-object-has-this-name"


class ObjectProbes:
    """Reads of single objects; closed by `close`."""

    def __init__(self, aws: AwsSession) -> None:
        self._reader = ObjectReader(aws.credentials, 1, idle_timeout_s=10)
        self.close = self._reader.close

    def read_a_byte(self, endpoint: Endpoint, pin: Pin) -> None:
        """A GET of the first byte, or of an empty object.

        Raises:
            BackhaulError: As `ObjectReader.get`.
        """
        byte_range = (0, 1) if pin.size_bytes else None
        with closing(self._reader.get(endpoint, pin, byte_range=byte_range)) as body:
            body.read(1)

    def refusal_below(self, endpoint: Endpoint, bucket: str, prefix: str) -> BackhaulError | None:
        """Why no object below an empty prefix could be read; None where that is allowed."""
        pin = Pin(
            bucket=bucket,
            key=f"{prefix}{ABSENT}",
            size_bytes=1,
            etag="none",
            last_modified=datetime.now(UTC),
        )
        try:
            self.read_a_byte(endpoint, pin)
        except BackhaulError as error:
            return None if error.code in {"E_SRC_GONE", "E_SRC_CHANGED"} else error
        return None

    def checksums(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        """What S3 shows of the object's checksums; raises as `ObjectReader.get`."""
        return self._reader.head(endpoint, pin)

    def shows_parts(self, endpoint: Endpoint, pin: Pin) -> bool:
        """Whether S3 lists the parts of a multipart upload, by GetObjectAttributes.

        Raises:
            SourceChanged, OutageError: As `ObjectReader.get`.
        """
        return self._reader.parts(endpoint, pin) is not None
