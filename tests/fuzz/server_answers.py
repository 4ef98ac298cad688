"""Answers of S3, SQS and STS: genuine ones, and what a seed makes of them."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

BUCKET, PREFIX, KEY = "src", "p/", "p/a"
DATA = b"four bytes and some more"
ETAG = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
CRC32 = base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
BODY = "src/p/, /land"
MD5 = hashlib.md5(BODY.encode(), usedforsecurity=False).hexdigest()
_BODY_MAX = 40_000
_KEPT_MAX = 400


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One HTTP answer; `failure` in its place: the connection broke in that way."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    failure: str = ""

    def header(self, name: str) -> str:
        return next((value for its, value in self.headers if its.lower() == name.lower()), "")


FAILURES = ("connect", "timeout", "read", "tls", "closed", "proxy")
STATUSES = (
    *(200, 200, 200, 201, 204, 206, 100, 301, 302, 304, 307, 400, 401, 403, 404, 405, 407, 408),
    *(409, 411, 412, 413, 416, 418, 429, 431, 451, 500, 501, 502, 503, 504, 507, 511, 599),
)
CODES = (
    *("AccessDenied", "NoSuchBucket", "NoSuchKey", "InvalidBucketName", "SlowDown", "ExpiredToken"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "InternalError"),
    *("KMS.DisabledException", "KMS.AccessDeniedException", "KMSInvalidStateException"),
    *("InvalidObjectState", "PermanentRedirect", "AuthorizationHeaderMalformed", "NeverHeardOf"),
    *("com.amazonaws.sqs#KmsAccessDenied", "AWS.SimpleQueueService.NonExistentQueue"),
    *("com.amazonaws.sqs#QueueDoesNotExist", "ReceiptHandleIsInvalid", "RequestThrottled"),
    *("InvalidMessageContents", "InvalidIdentityToken", "IDPCommunicationError", "", "403", "\n"),
    *("MalformedPolicyDocument", "com.amazonaws.sqs#MessageNotInflight", "QueueDeletedRecently"),
)
HTML = (
    b"<html><body>Sign in</body></html>",
    b"<!DOCTYPE html><html><head><title>403</title></head><body><p>Blocked</body></html>",
    b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body/></html>',
)
HEADERS = (
    *("ETag", "Content-Length", "Last-Modified", "Content-Range", "x-amz-bucket-region", "Date"),
    *("x-amz-version-id", "x-amz-checksum-crc32", "x-amz-checksum-type", "Content-Type", "Expires"),
    *("x-amzn-query-error", "x-amzn-RequestId", "x-amz-request-id", "Location", "Connection"),
    *("x-amz-server-side-encryption", "x-amz-delete-marker", "Content-Encoding", "Retry-After"),
    *("x-amz-server-side-encryption-customer-algorithm", "x-amz-mp-parts-count", "Accept-Ranges"),
    *("x-amz-object-lock-retain-until-date", "x-amz-checksum-sha256", "x-amz-missing-meta"),
    *("x-amz-meta-x", "x-amz-storage-class", "x-amz-crc32", "Transfer-Encoding"),
)
TEXTS = (
    *("", " ", "0", "-1", "1", "4.0", "1e3", "true", "false", "null", "None", "NaN", "\u0664"),
    *("9223372036854775808", "99999999999999999999", "9" * 5000, "54975581388801", "x" * 3000),
    *(
        "p/a",
        "p/b",
        "p/",
        "p",
        "q/secret",
        "other/../p/a",
        "p/../../x",
        "p/a\r\nX: y",
        "p%2Fa",
        "%",
    ),
    *("%ff%fe", "%zz", "+", "p/\U0001f4a9", "\ufeff", "\x7f", "a;b", "KMS.Disabled;Sender", ";"),
    *('"', '""', '"x"', "W/", '"e"', "0" * 32, "AAAAAA==", "AAAAAA==-2", "2026-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "Thu, 01 Jan 1970 00:00:00 GMT"),
    *("Thu, 99 Foo 99999 99:99:99 +9999", "1767225600", "-1e308", "us-east-1", "not a region!"),
    *(f"Mon, 01 Jan 2020 00:00:00 +{'9' * 20}", f"Mon, {'9' * 20} Jan 2020 00:00:00 GMT"),
    *("../evil", "bytes 0-3/24", "bytes */*", "gzip", "aws:kms", "text/html", "chunked", "close"),
    *("http://169.254.169.254/", "https://evil.example/q", "arn:aws:sqs:us-east-1:1:dead", "arn"),
)
VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 10**30, 1e308, "", "x", [], {}, [None], [[]], {"a": 1}, "9" * 400),
    *(["x"], {"StringValue": 5}, {"StringValue": None}, "not json", '{"deadLetterTargetArn": 5}'),
    *('{"deadLetterTargetArn":"a:b:c"}', '["x"]', "\ud83d", "https://evil.example/q"),
)


# ---------------------------------------------------------------- genuine answers


def _xml(root: str, inner: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return (
        f'{head}<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'.encode()
    )


def _contents(key: str, size: int = 4) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{ETAG}&quot;</ETag><Size>{size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def listing(prefix: str, token: str) -> Answer:
    """Two pages below `p/`; the encoded prefix is repeated as S3 does."""
    keys = ["p%2Fa", "p%2Fb"] if not token else ["p%2Fc", "p%2Fdir%2Ff+g"]
    keys = [key for key in keys if key.replace("%2F", "/").startswith(prefix)]
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t1</NextContinuationToken>"
    last = "<IsTruncated>false</IsTruncated>"
    echo = f"<ContinuationToken>{token}</ContinuationToken>" if token else ""
    inner = (
        f"<Name>{BUCKET}</Name><Prefix>{prefix.replace('/', '%2F')}</Prefix>"
        f"<KeyCount>{len(keys)}</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
        f"{last if token else more}{echo}{''.join(map(_contents, keys))}"
    )
    return Answer(headers=S3_HEADERS, body=_xml("ListBucketResult", inner))


S3_HEADERS = (
    *(("x-amz-request-id", "R"), ("Date", "Thu, 01 Jan 2026 00:00:00 GMT")),
    *(("x-amz-bucket-region", "us-east-1"), ("Content-Type", "application/xml")),
)
OBJECT_HEADERS = (
    *(("x-amz-request-id", "R"), ("ETag", f'"{ETAG}"'), ("Content-Length", str(len(DATA)))),
    *(("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"), ("x-amz-version-id", "v1")),
    *(("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-type", "FULL_OBJECT")),
)
HEAD = Answer(headers=OBJECT_HEADERS)
GET = Answer(headers=OBJECT_HEADERS, body=DATA)
PARTS = Answer(
    headers=S3_HEADERS,
    body=_xml(
        "GetObjectAttributesResponse",
        f"<ETag>{ETAG}</ETag><ObjectSize>{len(DATA)}</ObjectSize><ObjectParts>"
        "<IsTruncated>false</IsTruncated><MaxParts>1000</MaxParts><PartsCount>1</PartsCount>"
        f"<Part><PartNumber>1</PartNumber><Size>{len(DATA)}</Size>"
        f"<ChecksumCRC32>{CRC32}</ChecksumCRC32></Part></ObjectParts>",
    ),
)


def ranged(start: int, stop: int) -> Answer:
    """Bytes `start` to `stop` (exclusive)."""
    headers = dict(OBJECT_HEADERS) | {
        "Content-Length": str(stop - start),
        "Content-Range": f"bytes {start}-{stop - 1}/{len(DATA)}",
    }
    return Answer(status=206, headers=tuple(headers.items()), body=DATA[start:stop])


def _json(document: object) -> Answer:
    headers = (
        *(("x-amzn-RequestId", "R"), ("Content-Type", "application/x-amz-json-1.0")),
        ("Date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    )
    return Answer(headers=headers, body=json.dumps(document).encode())


_ARN = "arn:aws:sqs:us-east-1:000000000000:"
_MESSAGE = {
    "MessageId": "00000000-0000-0000-0000-000000000001",
    "ReceiptHandle": "handle",
    "Body": BODY,
    "MD5OfBody": MD5,
    "Attributes": {
        "SentTimestamp": "1767225600000",
        "ApproximateReceiveCount": "1",
        "SenderId": "AROA",
    },
    "MessageAttributes": {"note": {"DataType": "String", "StringValue": "v"}},
}
_BATCH = {
    "Successful": [{"Id": "0"}],
    "Failed": [{"Id": "1", "SenderFault": False, "Code": "InternalError", "Message": "again"}],
}
SQS = {
    "ReceiveMessage": _json({"Messages": [_MESSAGE, {**_MESSAGE, "MessageId": "2"}]}),
    "SendMessage": _json({"MessageId": "m", "MD5OfMessageBody": MD5}),
    "ChangeMessageVisibility": _json({}),
    "DeleteMessage": _json({}),
    "ChangeMessageVisibilityBatch": _json(_BATCH),
    "DeleteMessageBatch": _json(_BATCH),
    "GetQueueUrl": _json({"QueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/dead"}),
    "GetQueueAttributes": _json(
        {
            "Attributes": {
                "QueueArn": f"{_ARN}work",
                "RedrivePolicy": json.dumps(
                    {"deadLetterTargetArn": f"{_ARN}dead", "maxReceiveCount": "9"}
                ),
                "MessageRetentionPeriod": "345600",
            }
        }
    ),
}
_STS_KEYS = (
    "<Credentials><AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>VERYSECRET</SecretAccessKey>"
    "<SessionToken>TOKEN</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
    "<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn>"
    "<AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>"
)


def sts(action: str) -> Answer:
    """AssumeRole or AssumeRoleWithWebIdentity."""
    inner = f"<{action}Result>{_STS_KEYS}</{action}Result>"
    inner += "<ResponseMetadata><RequestId>R</RequestId></ResponseMetadata>"
    return Answer(headers=(("x-amzn-RequestId", "R"),), body=_xml(f"{action}Response", inner))


# ---------------------------------------------------------------- what a seed makes of them


class Mutator:
    """Answers made of genuine ones; bodies that brought something new are built upon."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._kept: list[bytes] = list(HTML)

    def keep(self, body: bytes) -> None:
        """This one was new."""
        if len(self._kept) < _KEPT_MAX and len(body) < _BODY_MAX:
            self._kept.append(body)

    def mutate(self, answer: Answer) -> Answer:
        """One to several changes of status, headers or body."""
        for _ in range(1 + int(self.chance.expovariate(0.8))):
            answer = self.chance.choice(_MUTATIONS)(self, answer)
        return replace(answer, body=answer.body[:_BODY_MAX])

    # -------------------------------------------------------- the whole answer

    def _status(self, answer: Answer) -> Answer:
        return replace(answer, status=self.chance.choice(STATUSES))

    def _refuse(self, answer: Answer) -> Answer:
        """An error as S3, SQS or STS writes it, or nearly."""
        code, message = self.chance.choice(CODES), self.chance.choice(TEXTS)
        xml = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        body = self.chance.choice(
            (
                json.dumps({"__type": code, "message": message}),
                json.dumps({"__type": self.chance.choice(VALUES), "Message": 5}),
                xml,
                f"<ErrorResponse>{xml}<RequestId>R</RequestId></ErrorResponse>",
                f"<ErrorResponse><Error>{code}</Error></ErrorResponse>",
                "",
            )
        )
        return replace(
            answer, status=self.chance.choice(STATUSES), body=body.encode("utf-8", "replace")
        )

    def _page(self, answer: Answer) -> Answer:
        headers = (("Content-Type", "text/html"),) if self.chance.random() < 0.5 else ()
        return replace(answer, headers=headers, body=self.chance.choice(self._kept))

    def _break(self, answer: Answer) -> Answer:
        return replace(answer, failure=self.chance.choice(FAILURES))

    # -------------------------------------------------------- headers

    def _header(self, answer: Answer) -> Answer:
        names = [name for name, _ in answer.headers]
        name = self.chance.choice((*HEADERS, *names * 3))
        rest = tuple(one for one in answer.headers if one[0] != name)
        match self.chance.randrange(3):
            case 0:
                return replace(answer, headers=rest)
            case 1:
                value = (
                    self.chance.choice((*TEXTS, *CODES))
                    .encode("latin-1", "replace")
                    .decode("latin-1")
                )
                return replace(answer, headers=(*rest, (name, re.sub(r"[\r\n]", " ", value))))
            case _:
                return replace(answer, headers=(*answer.headers, (name, answer.header(name) + "x")))

    # -------------------------------------------------------- bodies

    def _at(self, body: bytes) -> int:
        return self.chance.randint(0, len(body))

    def _bytes(self, answer: Answer) -> Answer:
        body = answer.body
        start, end = sorted((self._at(body), self._at(body)))
        other = self.chance.choice(self._kept)
        token = self.chance.choice((*TEXTS, *CODES, "<", ">", "&", "]]>", "<!DOCTYPE x>", "{", "["))
        changed = (
            body[:start],
            body[:start] + body[end:],
            body[:start] + bytes([self.chance.randrange(256)]) + body[start + 1 :],
            body[:start] + token.encode("utf-8", "replace") + body[start:],
            body[:end] + body[start:end] * self.chance.choice((1, 2, 30)) + body[end:],
            body[:start] + other[self._at(other) :],
            body.decode("utf-8", "replace").encode("utf-16"),
        )
        return replace(answer, body=self.chance.choice(changed))

    def _element(self, answer: Answer) -> Answer:
        """One XML element removed, doubled, emptied, renamed or given another text."""
        text = answer.body.decode("utf-8", "replace")
        found = list(re.finditer(r"<([A-Za-z]+)>([^<]*)</\1>|<(Contents|Part)>.*?</\3>", text))
        if not found:
            return self._bytes(answer)
        one = self.chance.choice(found)
        name = one[1] or one[3]
        other = self.chance.choice(found)[0]
        value = self.chance.choice(TEXTS)
        filled = f"<{name}>{value}</{name}>"
        nested = f"<{name}><a>{value}</a></{name}>"
        renamed = f"<x{name}>{value}</x{name}>"
        made = self.chance.choice(
            ("", one[0] * 2, f"<{name}/>", filled, filled, other, one[0] + other, renamed, nested)
        )
        made = text[: one.start()] + made + text[one.end() :]
        return replace(answer, body=made.encode("utf-8", "replace"))

    def _node(self, answer: Answer) -> Answer:
        """One JSON node removed, replaced or doubled."""
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            return self._element(answer)
        places = list(_places(document))
        if not places:
            return replace(answer, body=json.dumps(self.chance.choice(VALUES)).encode())
        holder, name = self.chance.choice(places)
        match self.chance.randrange(4):
            case 0:
                del holder[name]
            case 1:
                holder[name] = self.chance.choice(TEXTS)
            case 2 if isinstance(holder, list):
                holder.append(holder[name])
            case _:
                holder[name] = self.chance.choice(VALUES)
        return replace(answer, body=json.dumps(document).encode("utf-8", "replace"))


def _places(document: object) -> list[tuple[Any, Any]]:
    """Every node but the root, as what holds it and its name or number there."""
    found: list[tuple[Any, Any]] = []
    open_nodes = [document]
    while open_nodes and len(found) < 500:
        node = open_nodes.pop()
        if isinstance(node, dict):
            found += [(node, name) for name in node]
            open_nodes += node.values()
        elif isinstance(node, list):
            found += [(node, number) for number in range(len(node))]
            open_nodes += node
    return found


_MUTATIONS: tuple[Callable[[Mutator, Answer], Answer], ...] = (
    *(Mutator._element,) * 4,
    *(Mutator._node,) * 4,
    *(Mutator._bytes,) * 3,
    *(Mutator._header,) * 3,
    *(Mutator._status, Mutator._refuse, Mutator._refuse, Mutator._page, Mutator._break),
)
