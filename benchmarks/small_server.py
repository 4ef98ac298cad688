"""An S3 with one object of 16 KiB under every name, for the CPU of its clients alone.

`python -m benchmarks.small_server` prints its port and serves until its standard input closes.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

from benchmarks.measure import serve
from benchmarks.servers import SMALL_BYTES

ETAG = "abc"
_BODY = bytes(SMALL_BYTES)
_HEADERS = {  # as S3 sends them
    "x-amz-id-2": "a" * 76,
    "x-amz-request-id": "0123456789ABCDEF",
    "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    "ETag": f'"{ETAG}"',
    "x-amz-server-side-encryption": "AES256",
    "Accept-Ranges": "bytes",
    "Content-Type": "application/octet-stream",
    "Content-Length": str(SMALL_BYTES),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        if "Range" in self.headers:  # awscrt asks for the first part of what it does not know
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-{SMALL_BYTES - 1}/{SMALL_BYTES}")
        else:
            self.send_response(200)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(_BODY)

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    serve(_Handler)
