"""An S3 that can only list, from an index as S3 has one: a page costs the same wherever it begins.

`python -m benchmarks.indexed_listing DIRECTORIES FILES` prints its port and serves until its
standard input closes: empty objects `in/d=00000/part-00000.parquet` and so on, by ListObjectsV2
with prefix, delimiter, `start-after` and continuation. (S3Proxy walks all its files for each page
of a flat listing, which S3 does not.) Objects `new` in a directory and a newer state of its first
one are listed where `FINDINGS_IN` says so.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from functools import cache
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from benchmarks.measure import serve

FINDINGS_IN = range(10)  # directories
ETAG, NEWER_ETAG = "d41d8cd98f00b204e9800998ecf8427e", "0cc175b9c0f1b6a831c399e269772661"
MODIFIED, NEWER = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
_HEAD = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
_ITEM = (
    "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified>"
    "<ETag>&quot;{etag}&quot;</ETag><Size>0</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def directory_name(number: int) -> str:
    """Below the route's prefix."""
    return f"d={number:05d}"


def file_name(number: int) -> str:
    """In its directory."""
    return f"part-{number:05d}.parquet"


def keys_of(directories: int, files: int) -> list[str]:
    """All keys, in order."""
    found = []
    for number in range(directories):
        prefix = f"in/{directory_name(number)}/"
        found += [prefix + "new"] if number in FINDINGS_IN else []
        found += [prefix + file_name(one) for one in range(files)]
    return found


@cache
def _keys() -> list[str]:
    return keys_of(*map(int, sys.argv[1:3]))


def _is_newer(key: str) -> bool:
    _, directory, name = key.split("/")
    return name == file_name(0) and int(directory.removeprefix("d=")) in FINDINGS_IN


class _Handler(BaseHTTPRequestHandler):
    """ListObjectsV2 and HeadBucket; the continuation token is the last entry that was listed."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes
    wbufsize = -1

    def do_HEAD(self) -> None:
        is_bucket = "/" not in urlsplit(self.path).path.strip("/")
        self._answer(b"", 200 if is_bucket else 404)

    def do_GET(self) -> None:
        query = {name: each[0] for name, each in parse_qs(urlsplit(self.path).query).items()}
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        most = int(query.get("max-keys", "1000"))
        contents, directories, last, is_cut = _page(prefix, delimiter, after, most)
        body = [_HEAD, f"<Prefix>{escape(prefix)}</Prefix>"]
        body.append(f"<KeyCount>{len(contents) + len(directories)}</KeyCount>")
        body.append(f"<IsTruncated>{'true' if is_cut else 'false'}</IsTruncated>")
        if is_cut:
            body.append(f"<NextContinuationToken>{escape(last)}</NextContinuationToken>")
        for key in contents:
            etag, modified = (NEWER_ETAG, NEWER) if _is_newer(key) else (ETAG, MODIFIED)
            body.append(_ITEM.format(key=escape(key), etag=etag, modified=modified))
        body += [
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
            for one in directories
        ]
        body.append("</ListBucketResult>")
        self._answer("".join(body).encode())

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: there are thousands of requests."""


def _page(
    prefix: str, delimiter: str, after: str, most: int
) -> tuple[list[str], list[str], str, bool]:
    """Keys, common prefixes, the last entry of both, and whether there are more."""
    keys = _keys()
    position = max(bisect_left(keys, prefix), bisect_right(keys, after))
    contents: list[str] = []
    directories: list[str] = []
    last = ""
    while position < len(keys) and keys[position].startswith(prefix):
        if len(contents) + len(directories) == most:
            return contents, directories, last, True
        key = keys[position]
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            contents.append(key)
            last = key
            position += 1
        else:
            one = key[: end + 1]
            directories.append(one)
            last = one + "\x7f"
            position = bisect_left(keys, last)
    return contents, directories, last, False


if __name__ == "__main__":
    serve(_Handler)
