"""An S3 that can only list: buckets named `n1000000` hold that many objects of no content.

`python -m benchmarks.listing_server` prints its port and serves until its standard input closes.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from benchmarks.measure import serve

PREFIX = "day=2026-01-01/"
_HEAD = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
_ITEM = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{number:032x}&quot;</ETag><Size>16384</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


class _Handler(BaseHTTPRequestHandler):
    """ListObjectsV2 and HeadBucket; the continuation token is the next object's number."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes
    wbufsize = -1

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        count = int(parts.path.strip("/").removeprefix("n"))
        start = int(query.get("continuation-token", ["0"])[0])
        stop = min(count, start + int(query.get("max-keys", ["1000"])[0]))
        body = [_HEAD, f"<IsTruncated>{'true' if stop < count else 'false'}</IsTruncated>"]
        if stop < count:
            body.append(f"<NextContinuationToken>{stop}</NextContinuationToken>")
        body += [
            _ITEM.format(key=f"{PREFIX}part-{number // 1000:05d}/{number:09d}.bin", number=number)
            for number in range(start, stop)
        ]
        body.append("</ListBucketResult>")
        self._answer("".join(body).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a million objects are a thousand requests."""


if __name__ == "__main__":
    serve(_Handler)
