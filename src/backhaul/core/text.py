"""Text from outside, made fit for one line of an error, a log or a table.

All text from outside passes through `printable` before a person sees it, and through `redacted`
where it may carry credentials.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Bidirectional controls, zero-width characters, separators and tags: no font shows them.
INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_RUN = re.compile(r"[^\s\"',]+")
# Percent-encoded, as S3's events carry keys, and once more where a key was a URL before.
_PERCENT = "%(?:25)?"
_BLANKS = rf"(?:\s|{_PERCENT}20){{0,16}}"
_IS = rf"(?:\\{{0,7}}[\"']?|{_PERCENT}2[27]){_BLANKS}(?:[=:]|{_PERCENT}3[ad]){_BLANKS}"
_AFTER_ENCODED = r"(?<=%(?!2f)[0-9a-f]{2})|(?<=%25(?!2f)[0-9a-f]{2})"  # any but a slash
SECRET_NAME = (
    r"signature|credential|secret|token|passw(?:or)?d|pwd|awsaccesskeyid|sig"
    r"|(?:api|access|account|encryption|private|storage)[-_.]?key"
    # Parts of longer words, too, so only as words; Hadoop names its methods `(auth:KERBEROS)`.
    rf"|(?:(?<![a-z])|{_AFTER_ENCODED})(?:pass(?:phrase|code)?|pw|cookie"
    r"|auth(?!:(?:simple|kerberos|token|proxy)\b))(?![a-z])"
)
# A value after such a name: in a query, in JSON, an assignment, a property of Hadoop. Names of
# directories such as `token=5` are none: what is before them is a slash. Every repeat has a bound,
# except that of the value, which nothing follows.
_ASSIGNED = re.compile(
    rf"((?:x-amz-|(?:(?<![^\s?&;,\"'{{(:>\[])|{_AFTER_ENCODED})[\w.-]{{0,120}}?)"
    rf"(?:{SECRET_NAME})[\w.-]{{0,60}}(?:{_IS}|</name>\s{{0,40}}<value>))"
    r"(?:([a-z]{0,2}(?P<quote>\\{0,7}[\"']))(?:(?!(?<!\\)(?P=quote)).)+|[^&\s\"',;})]+)",
    re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(rf"((?<![/\w])(?:authorization|cookie){_IS}[\"']?)[^\n\"']+", re.IGNORECASE)
_BEARER = re.compile(
    r"\b(bearer|basic|aws4-hmac-sha256)\s{1,4}[A-Za-z0-9._~+/=:-]{8,}", re.IGNORECASE
)
_KEY_ID = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,124}")
_SESSION_TOKEN = re.compile(r"\b(?:IQoJb3JpZ2lu|FwoGZXIvYXdz)[A-Za-z0-9/+=%]*")  # STS's own
_SECRET_KEY = re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?")
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*", re.DOTALL)
_AT = re.compile(r"(//)[^/@\s]{1,400}(@)")
_AT_ENCODED = re.compile(
    rf"({_PERCENT}2F{_PERCENT}2F)(?:(?!{_PERCENT}2F)[^/@\s]){{1,400}}({_PERCENT}40)", re.IGNORECASE
)
_COLON = re.compile(f":|{_PERCENT}3A", re.IGNORECASE)
_SUSPICIOUS = re.compile(
    rf"@|{_PERCENT}40|secret|token|passw|passphrase|pwd|cookie|credential|signature"
    r"|(?:api|access|account|encryption|private|storage).?key"
    r"|authorization|bearer|(?-i:AKIA|ASIA|eyJ[A-Za-z0-9_-]+\.)",
    re.IGNORECASE,
)
HIDDEN = "(not shown: it may hold credentials)"
_SCHEME = re.compile(
    rf"[a-z][a-z0-9+.-]*(?:://|{_PERCENT}3A{_PERCENT}2F{_PERCENT}2F)", re.IGNORECASE
)


def printable(text: str, limit: int = 200) -> str:
    r"""`text` on one line: what a terminal would act on becomes `\n`, `\x1b`, `\u202e`.

    A backslash is doubled, so that the escapes cannot be forged. At most `limit` characters
    come back; a cut is marked by `…`.
    """
    shown = "".join(_escaped(char) for char in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def visible(text: str, limit: int = 200) -> str:
    """The same for text that was made printable before, or is to be copied: backslashes stay."""
    shown = "".join(char if char == "\\" else _escaped(char) for char in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _escaped(char: str) -> str:
    if char.isprintable() and char != "\\":
        return char
    return char.encode("unicode_escape").decode("ascii")


def redacted(text: str, *, has_userinfo: bool = True) -> str:
    """`text` without secrets in the shapes in which they travel.

    Userinfo of URIs, presigned queries, values behind names such as `password`, access key ids and
    the secret keys beside them, session tokens, headers such as Authorization, JSON Web Tokens,
    private keys; all of them percent-encoded, too. It hides too much rather than too little: in `s3://bucket/a:b@c`
    the part before the `@` goes too. Linear in the length of the text, so it may be used on a
    whole message body. For display only: what it returns names no object.

    Args:
        has_userinfo: False for a key of S3, which has none.
    """
    text = _SESSION_TOKEN.sub("***", _PEM.sub("***", text))
    text = _BEARER.sub(r"\1 ***", text)
    if _KEY_ID.search(text):
        text = _SECRET_KEY.sub("***", _KEY_ID.sub(r"\1***", text))
    text = _ASSIGNED.sub(_without_value, _JWT.sub("***", text))
    text = _HEADER.sub(r"\1***", text)  # to the next quote, in which a secret is hidden by now
    if not has_userinfo:
        return text
    text = _RUN.sub(_without_userinfo, text)
    return _AT_ENCODED.sub(r"\1***\2", _AT.sub(r"\1***\2", text))


def shown(text: str, limit: int = 200) -> str:
    """Foreign text fit for one line of a log, an error or a table: `redacted`, then `printable`."""
    return printable(redacted(text), limit)


def excerpt(body: str, limit: int = 200) -> str:
    """The start of a message body for people; nothing of it when it may contain secrets.

    Such a body may carry credentials in a shape that nothing here recognises; a `=` alone is a
    partition.
    """
    if _SUSPICIOUS.search(body):
        return HIDDEN
    return shown(body[: 4 * limit], limit)


def _without_value(assigned: re.Match[str]) -> str:
    """The name and the opening quote; a closing quote follows by itself."""
    return f"{assigned[1]}{assigned[2] or ''}***"


def _without_userinfo(run: re.Match[str]) -> str:
    text = run[0]
    scheme = _SCHEME.match(text)
    start = scheme.end() if scheme else 0
    if (at := text.rfind("@")) >= 0:
        has_password = ":" in text[start:at]
    else:
        at = max(text.rfind("%40"), text.rfind("%2540"))
        has_password = at >= 0 and _COLON.search(text, start, at) is not None
    return f"{text[:start]}***{text[at:]}" if has_password else text


def find_control(text: str) -> int | None:
    """Character index of the first C0, DEL or C1 control character."""
    match = _CONTROL.search(text)
    return match.start() if match else None


def find_surrogate(text: str) -> int | None:
    """Character index of the first surrogate: such text has no UTF-8 form."""
    match = _SURROGATE.search(text)
    return match.start() if match else None


def is_text(name: str) -> bool:
    """False for a name on a mount that is not UTF-8: neither S3 nor a ledger can have it."""
    return find_surrogate(name) is None


def byte_offset(text: str, index: int) -> int:
    """Where character `index` starts in the UTF-8 form, from 0."""
    return len(text[:index].encode("utf-8", "surrogatepass"))
