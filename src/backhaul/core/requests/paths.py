"""How text becomes a place in S3 or on a target, and how a key becomes a file name.

Nothing is repaired: a value is exactly usable or refused with a code. The one canonical form made
here is a destination without its single trailing slash. Every refusal is a `PermanentError`.

Order of the checks, first one wins:
    source       E_MSG_UNICODE, E_KEY_CONTROL, E_SRC_URI (dash, scheme), E_SRC_BUCKET (ARN),
                 E_SRC_URI (userinfo, no bucket, no key), E_SRC_BUCKET, then the key
    key          E_MSG_UNICODE, E_KEY_CONTROL, E_SRC_URI (length), E_SRC_KEY_EMPTY_SEG or
                 E_SRC_KEY_DOT_SEG, whichever segment comes first
    destination  E_MSG_UNICODE, E_KEY_CONTROL, E_DST_NOT_ABSOLUTE, E_DST_AUTHORITY, E_DST_SCHEME,
                 E_DST_ROOT, E_KEY_INVISIBLE, E_DST_EMPTY_SEG or E_DST_DOT_SEG, E_DST_RESERVED,
                 E_DST_COLON, E_DST_LIMIT, then what needs the node: E_DST_NO_DEFAULT_FS,
                 E_DST_AUTHORITY; of viewfs E_DST_SCHEME, E_DST_MOUNT, E_DST_NO_MOUNT, then what
                 its mount makes of it: E_DST_ROOT and the codes from E_DST_RESERVED on

Whether a place may be read or written is decided in `policy`.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from backhaul.core.errors import PermanentError
from backhaul.core.file_systems import HADOOP_FAULT_HINT, DefaultFs, FileSystems
from backhaul.core.model import STAGING_NAME, Location, NameMap, Source
from backhaul.core.requests.authorities import (
    check_one_name,
    default_filesystem,
    is_authority,
    is_mount_table,
)
from backhaul.core.text import (
    INVISIBLE,
    byte_offset,
    find_control,
    find_surrogate,
    printable,
    redacted,
)

MAX_KEY_BYTES = 1024  # S3 user guide, "Naming Amazon S3 objects"
MAX_COMPONENT_BYTES = 255  # dfs.namenode.fs-limits.max-component-length, in UTF-8 bytes
MAX_PATH_CHARS = 8000  # HdfsServerConstants.MAX_PATH_LENGTH, in UTF-16 units as Java counts
MAX_PATH_LEVELS = 1000  # HdfsServerConstants.MAX_PATH_DEPTH
RESERVED_NAMES = frozenset({".snapshot", STAGING_NAME, ".Trash"})
# Of Hadoop's committers: everything below belongs to a job that has not ended, or never will.
UNFINISHED = "_temporary"
OWN_PREFIX = ".backhaul-"  # of evidence beside the data
RESERVED_FIRST_NAME = ".reserved"  # /.reserved/raw and /.reserved/.inodes write elsewhere
FOLDER_SUFFIX = "_$folder$"  # what Hadoop's old S3 file systems leave as a directory placeholder

_SOURCE_FORMS = "write s3://bucket/key for an object, s3://bucket/prefix/ for all below it"
_DESTINATION_FORMS = (
    "write /dir, hdfs://nameservice/dir, hdfs://host:port/dir, viewfs://table/dir or file:///dir"
)
_RENAME_KEY = "rename the object in S3, or send a prefix that does not contain it"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SOURCE_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
# Not general purpose buckets: S3 Express, Object Lambda, Outposts, S3 Tables, multi-region.
_FOREIGN_SUFFIXES = ("--x-s3", "--ol-s3", "--op-s3", "--table-s3", ".mrap")
_FOREIGN_PREFIXES = ("xn--", "sthree-")


def parse_source(text: str) -> Source:
    """`bucket/path`, `s3://bucket/path` or `s3a://bucket/path`; the key is kept byte for byte.

    A text that might hold credentials is never repeated in the error.

    Raises:
        PermanentError: E_SRC_URI, E_SRC_BUCKET, or what `check_key` raises.
    """
    _check_characters(text, "source")
    if text.startswith("-"):
        raise PermanentError(
            "E_SRC_URI", f"source {_shown(text)} begins with '-'", hint=_SOURCE_FORMS
        )
    scheme = _SOURCE_SCHEME.match(text)
    if scheme and scheme[1] not in {"s3", "s3a"}:
        raise PermanentError(
            "E_SRC_URI",
            f"source scheme {printable(scheme[1], 20)}:// is not s3:// or s3a://",
            hint=_SOURCE_FORMS,
        )
    bucket, slash, key = text[scheme.end() if scheme else 0 :].partition("/")
    _check_bucket_part(bucket, has_slash=slash != "")
    _check_bucket(bucket)
    check_key(key)
    return Source(bucket=bucket, key=key)


def _check_bucket_part(bucket: str, *, has_slash: bool) -> None:
    """The text before the first slash is one name: no ARN, no userinfo, no port."""
    if bucket.startswith("arn:"):
        raise PermanentError(
            "E_SRC_BUCKET",
            "source names an ARN, not a bucket",
            hint="name the bucket itself; access points and Outposts are not supported",
        )
    if "@" in bucket or ":" in bucket:
        raise PermanentError(
            "E_SRC_URI",
            "source has credentials or a port beside the bucket (not shown here)",
            hint="write s3://bucket/key; if these were credentials, revoke them now",
        )
    if bucket == "":
        raise PermanentError("E_SRC_URI", "source names no bucket", hint=_SOURCE_FORMS)
    if not has_slash:
        name = printable(bucket, 80)
        raise PermanentError(
            "E_SRC_URI",
            f"source {name} names a bucket but no key",
            hint=f"write s3://{name}/ for the whole bucket",
        )


def _check_bucket(bucket: str) -> None:
    """Source: S3 user guide, "General purpose bucket naming rules"."""
    is_name = _BUCKET.fullmatch(bucket) and ".." not in bucket and not _IPV4.fullmatch(bucket)
    if not is_name:
        raise PermanentError(
            "E_SRC_BUCKET",
            f"{printable(bucket, 80)} is not a bucket name",
            hint="3 to 63 of a-z, 0-9, '-' and single '.', a letter or digit at both ends, no IP",
        )
    if bucket.startswith(_FOREIGN_PREFIXES) or bucket.endswith(_FOREIGN_SUFFIXES):
        raise PermanentError(
            "E_SRC_BUCKET",
            f"{bucket} is not the name of a general purpose bucket",
            hint="only general purpose buckets are supported: copy from the one behind it",
        )


def check_key(key: str) -> None:
    """Refuse a key that has no exact, safe file name; for the requested key and every listed one.

    The empty key (the whole bucket) and one trailing `/` (a prefix or placeholder) are fine.

    Raises:
        PermanentError: E_MSG_UNICODE, E_KEY_CONTROL, E_SRC_URI (over 1024 bytes),
            E_SRC_KEY_EMPTY_SEG, E_SRC_KEY_DOT_SEG.
    """
    _check_characters(key, "key")
    size_bytes = len(key.encode())
    if size_bytes > MAX_KEY_BYTES:
        raise PermanentError(
            "E_SRC_URI",
            f"key {printable(key, 80)} has {size_bytes} bytes, S3 allows {MAX_KEY_BYTES}",
            hint=_SOURCE_FORMS,
        )
    if key:
        _check_segments(key.removesuffix("/"), "key", "E_SRC_KEY_EMPTY_SEG", "E_SRC_KEY_DOT_SEG")


def parse_destination(text: str, *, default_fs: DefaultFs) -> Location:
    """`/dir` on the default file system, `hdfs://authority/dir`, `viewfs://table/dir`, `file:///dir`.

    The result is canonical: parsing its `uri` gives it back, and `/dir` equals
    `hdfs://nameservice/dir` where that is the default. A path of viewfs becomes the one behind it.

    Args:
        default_fs: Hadoop's `fs.defaultFS`, such as `hdfs://nameservice`, and what else this node
            has names for; None when the node has no Hadoop configuration.

    Raises:
        PermanentError: one of the E_DST codes, E_MSG_UNICODE or E_KEY_CONTROL.
    """
    _check_characters(text, "destination")
    scheme, authority, path = _split_destination(text)
    if path in {"", "/"}:
        raise PermanentError(
            "E_DST_ROOT",
            "destination is the root of a file system" if text else "destination is empty",
            hint="name a directory below the root, such as /landing/click",
        )
    path = path.removesuffix("/")
    _check_path(path)
    if scheme == "":
        scheme, authority = default_filesystem(default_fs)
    if scheme == "viewfs":
        return _behind_mount(authority, path, default_fs)
    if scheme == "hdfs":
        if isinstance(default_fs, FileSystems):
            authority = default_fs.in_full(authority)
        check_one_name(authority, default_fs)
    return Location(scheme=scheme, authority=authority, path=path)


def _check_path(path: str) -> None:
    _check_visible(path, "destination")
    _check_segments(path[1:], "destination", "E_DST_EMPTY_SEG", "E_DST_DOT_SEG", start=1)
    _check_names(path[1:], "destination", colon_hint="choose a directory without ':'", start=1)
    _check_extent(path)


def _behind_mount(authority: str, path: str, default_fs: DefaultFs) -> Location:
    """What a path of viewfs is on the file system behind its mount."""
    table = default_fs.mount_table(authority) if isinstance(default_fs, FileSystems) else None
    if table is None:
        name = f"named {printable(authority, 80)}" if authority else "for viewfs:///"
        raise PermanentError(
            "E_DST_SCHEME",
            f"this node's Hadoop configuration has no mount table {name}",
            hint=f"add fs.viewfs.mounttable.{printable(authority, 80) or 'NAME'}.link.* to its "
            "core-site.xml, or write hdfs://nameservice/dir",
        )
    found = table.resolve(path, hint=HADOOP_FAULT_HINT)
    if found.path == "/":
        raise PermanentError(
            "E_DST_ROOT",
            f"destination {_shown(path)} is the root of {found.filesystem} behind its mount",
            hint="name a directory below it",
        )
    _check_path(found.path)
    return found


def _split_destination(text: str) -> tuple[str, str, str]:
    """Scheme (empty: the default file system), authority and path; the path is not checked."""
    if text == "" or text.startswith("/"):
        return "", "", text
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise PermanentError(
            "E_DST_NOT_ABSOLUTE",
            f"destination {_shown(text)} does not begin with '/'",
            hint=_DESTINATION_FORMS,
        )
    if text.startswith("hdfs://"):
        authority, slash, rest = text.removeprefix("hdfs://").partition("/")
        if not is_authority(authority):
            # A secret may hold a slash, so one '@' anywhere hides the whole.
            shown = "(not shown: it may hold credentials)" if "@" in text else printable(authority)
            raise PermanentError(
                "E_DST_AUTHORITY",
                f"destination names no usable HDFS authority: {shown or '(empty)'}",
                hint="write hdfs://nameservice/dir, hdfs://host:port/dir, or /dir for the default",
            )
        return "hdfs", authority, slash + rest
    if text.startswith("file:///") or text == "file://":
        return "file", "", text.removeprefix("file://")
    if text.startswith("viewfs://"):
        authority, slash, rest = text.removeprefix("viewfs://").partition("/")
        if authority and not is_mount_table(authority):
            shown = "(not shown: it may hold credentials)" if "@" in text else printable(authority)
            raise PermanentError(
                "E_DST_AUTHORITY",
                f"destination names no usable mount table: {shown}",
                hint="write viewfs://table/dir as in fs.viewfs.mounttable.table.link.*: letters, "
                "digits, '-' and '.', no port",
            )
        return "viewfs", authority, slash + rest
    raise PermanentError(
        "E_DST_SCHEME",
        f"destination beginning with {printable(scheme[0], 40)} is not a form that is accepted",
        hint=_DESTINATION_FORMS,
    )


def map_name(relative_key: str, name_map: NameMap) -> str:
    """The file name of a key below the target directory.

    `percent`: `:` becomes `%3A`, `%` becomes `%25`, and of an invisible character each byte of
    its UTF-8 form. `strict`: unchanged.
    """
    if name_map is NameMap.STRICT:
        return relative_key
    escaped = relative_key.replace("%", "%25").replace(":", "%3A")
    return INVISIBLE.sub(lambda found: quote(found[0]), escaped)


def unmap_name(relative: str, name_map: NameMap) -> str:
    """The key of a file name that `map_name` made; gives back every key exactly."""
    if name_map is NameMap.STRICT:
        return relative
    return unquote(relative)


def target_relative(destination: Location, relative_key: str, name_map: NameMap) -> str:
    """The checked name of an object below `destination`; joined, it stays strictly below.

    Args:
        relative_key: Key without the requested prefix; for one object its last segment. Directory
            placeholders have been left out.

    Raises:
        PermanentError: what `check_key` raises, E_SRC_KEY_TRAILING_SLASH, E_KEY_INVISIBLE,
            E_DST_RESERVED, E_DST_COLON or E_DST_LIMIT.
    """
    check_key(relative_key)
    if relative_key == "":
        raise PermanentError(
            "E_SRC_KEY_EMPTY_SEG", "object has no name below the prefix", hint=_RENAME_KEY
        )
    if relative_key.endswith("/"):
        raise _trailing_slash(relative_key)
    relative = map_name(relative_key, name_map)
    _check_visible(relative, "key")
    _check_names(relative, "key", colon_hint='set name_map = "percent" on the route')
    _check_extent(destination.join(relative).path)
    return relative


def is_placeholder(key: str, size_bytes: int) -> bool:
    """True for an empty object that only represents a directory: `x/` or `x_$folder$`.

    Raises:
        PermanentError: E_SRC_KEY_TRAILING_SLASH: `x/` with content has no file name.
    """
    if key.endswith("/"):
        if size_bytes > 0:
            raise _trailing_slash(key, size_bytes)
        return True
    return size_bytes == 0 and key.endswith(FOLDER_SUFFIX)


def _trailing_slash(key: str, size_bytes: int | None = None) -> PermanentError:
    size = "" if size_bytes is None else f" and holds {size_bytes} B"
    return PermanentError(
        "E_SRC_KEY_TRAILING_SLASH", f"key {printable(key)} ends in '/'{size}", hint=_RENAME_KEY
    )


def _check_characters(text: str, what: str) -> None:
    """Surrogates and control characters; the text itself is not shown, it may hold a secret."""
    if (index := find_surrogate(text)) is not None:
        raise PermanentError(
            "E_MSG_UNICODE",
            f"{what} has half a surrogate pair at byte {byte_offset(text, index)}",
            hint="encode names as UTF-8",
        )
    if (index := find_control(text)) is not None:
        raise PermanentError(
            "E_KEY_CONTROL",
            f"{what} has control character U+{ord(text[index]):04X}"
            f" at byte {byte_offset(text, index)}",
            hint="use names without control characters",
        )


def _check_visible(text: str, what: str) -> None:
    """A name that looks like another one, or runs backwards, deceives its reader."""
    if (match := INVISIBLE.search(text)) is not None:
        raise PermanentError(
            "E_KEY_INVISIBLE",
            f"{what} has the invisible character U+{ord(match[0]):04X}"
            f" at byte {byte_offset(text, match.start())}",
            hint='use names without it, or set name_map = "percent" on the route, which escapes it',
        )


def _check_segments(path: str, what: str, empty: str, dot: str, *, start: int = 0) -> None:
    """Refuse empty and dot segments of `path`, which has no leading slash.

    Args:
        empty: Code for an empty segment; `dot` likewise.
        start: Byte offset of `path` in the text that the offset in the error counts from.
    """
    offset = start
    for segment in path.split("/"):
        if segment in {"", ".", ".."}:
            name = f"the segment '{segment}'" if segment else "an empty segment"
            raise PermanentError(
                dot if segment else empty,
                f"{what} {_named(what, path)} has {name} at byte {offset}",
                hint="write the path without '//', '/./' and '/../'; nothing is resolved or joined",
            )
        offset += len(segment.encode()) + 1


def _check_names(path: str, what: str, *, colon_hint: str, start: int = 0) -> None:
    """Each segment of `path` (no leading slash) is a name that HDFS accepts and none reserves."""
    segments = path.split("/")
    if UNFINISHED in segments:
        raise PermanentError(
            "E_DST_RESERVED",
            f"{what} {_named(what, path)} has the name {UNFINISHED}, below which Spark and Hadoop"
            " keep the output of a job that has not ended",
            hint="send the message when the job has ended; remove the output of a failed one",
        )
    reserved = next(
        (name for name in segments if name in RESERVED_NAMES or name.startswith(OWN_PREFIX)), None
    )
    if segments[0] == RESERVED_FIRST_NAME:
        reserved = RESERVED_FIRST_NAME
    if reserved:
        raise PermanentError(
            "E_DST_RESERVED",
            f"{what} {_named(what, path)} has the reserved name {reserved}",
            hint=f"use another name: {reserved} belongs to HDFS or to Backhaul itself",
        )
    if (index := path.find(":")) >= 0:
        raise PermanentError(
            "E_DST_COLON",
            f"{what} {_named(what, path)} has ':' at byte {byte_offset(path, index) + start},"
            " which HDFS refuses",
            hint=colon_hint,
        )
    for name in segments:
        size_bytes = len(name.encode())
        if size_bytes > MAX_COMPONENT_BYTES:
            raise PermanentError(
                "E_DST_LIMIT",
                f"{what} name {printable(name, 40)} has {size_bytes} bytes,"
                f" HDFS allows {MAX_COMPONENT_BYTES}",
                hint="shorten the name",
            )


def _check_extent(path: str) -> None:
    chars = len(path.encode("utf-16-le")) // 2
    levels = path.count("/")
    if chars > MAX_PATH_CHARS or levels > MAX_PATH_LEVELS:
        raise PermanentError(
            "E_DST_LIMIT",
            f"target path {printable(path, 80)} has {chars} characters and {levels} levels,"
            f" HDFS allows {MAX_PATH_CHARS} and {MAX_PATH_LEVELS}",
            hint="choose a shorter destination",
        )


def _shown(text: str, limit: int = 200) -> str:
    return printable(redacted(text), limit)


def _named(what: str, path: str) -> str:
    """Of a key only certain secrets are hidden: the rest identifies the object."""
    return printable(redacted(path, has_userinfo=False)) if what == "key" else _shown(f"/{path}")
