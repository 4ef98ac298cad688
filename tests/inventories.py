"""Reports as S3 Inventory delivers them: manifest, its checksum, and data files in CSV."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

BUCKET = "raw"
TAKEN_AT = datetime(2026, 11, 30, 1, 0, tzinfo=UTC)
CHANGED = "2026-11-29T10:11:12.000Z"
COLUMNS = (
    *("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size"),
    *("LastModifiedDate", "ETag", "StorageClass", "ChecksumAlgorithm"),
)
AT = "reports/raw/daily"  # destination prefix, source bucket, id of the configuration
MANIFEST = f"{AT}/2026-11-30T01-00Z/manifest.json"


def row(key: str, size: int | str = 3, etag: str = "", **changed: str) -> list[str]:
    """One of an object, with the columns of `COLUMNS`; its key in the file's encoding."""
    etag = etag or hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    values = {
        "Bucket": BUCKET,
        "Key": quote_plus(key, safe="/"),
        "VersionId": "",
        "IsLatest": "true",
        "IsDeleteMarker": "false",
        "Size": str(size),
        "LastModifiedDate": CHANGED,
        "ETag": etag,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": "CRC64NVME",
    }
    return list((values | changed).values())


def in_csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode(), mtime=0)


@dataclass(kw_only=True)
class Report:
    """What is delivered: content by key of the bucket that it is delivered to.

    Attributes:
        fields: Of the manifest, in place of what it would have.
    """

    files: Mapping[str, bytes]
    columns: Sequence[str] = COLUMNS
    fields: Mapping[str, Any] = field(default_factory=dict)

    def contents(self) -> dict[str, bytes]:
        """With manifest and checksum."""
        manifest = {
            "sourceBucket": BUCKET,
            "destinationBucket": "arn:aws:s3:::reports",
            "version": "2016-11-30",
            "creationTimestamp": str(int(TAKEN_AT.timestamp() * 1000)),
            "fileFormat": "CSV",
            "fileSchema": ", ".join(self.columns),
            "files": [
                {
                    "key": key,
                    "size": len(content),
                    "MD5checksum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                }
                for key, content in self.files.items()
            ],
            **self.fields,
        }
        return {**self.files, **manifest_files(json.dumps(manifest).encode())}

    def write(self, directory: Path) -> Path:
        """As `aws s3 sync` brings it there; the manifest's path."""
        for key, content in self.contents().items():
            path = directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return directory / MANIFEST


def manifest_files(manifest: bytes) -> dict[str, bytes]:
    """The manifest and its checksum."""
    md5 = hashlib.md5(manifest, usedforsecurity=False).hexdigest()
    above = MANIFEST.rpartition("/")[0]
    return {MANIFEST: manifest, f"{above}/manifest.checksum": md5.encode()}


def report(*files: Sequence[Sequence[str]], **fields: Any) -> Report:
    """Of these rows, a data file for each argument."""
    return Report(
        files={f"{AT}/data/{n}.csv.gz": in_csv(rows) for n, rows in enumerate(files)},
        fields=fields,
    )
