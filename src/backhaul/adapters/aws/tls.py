"""Which certificates are trusted, and where plain HTTP is accepted; for SQS and S3."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from backhaul.adapters.aws.causes import one_line
from backhaul.core.errors import BackhaulError, ConfigurationError, OutageError


def refuse_plain_http(url: str, what: str) -> None:
    """Accept `https://`, and `http://` to this machine.

    Raises:
        ConfigurationError: E_CFG_TLS.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise ConfigurationError(
        "E_CFG_TLS",
        f"{what} {parts.scheme}://{parts.hostname} is not https",
        hint="plain http is for stand-ins on 127.0.0.1, ::1 or localhost only",
    )


def is_loopback(host: str) -> bool:
    """True for `localhost`, 127.0.0.0/8 and ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_bundle(configured: str) -> str:
    """The absolute path of a bundle of certificates, for every client and worker.

    Raises:
        ConfigurationError: E_CFG_TLS: it is empty, with which older releases of the AWS library
            check no certificate at all, or not a file of certificates.
    """
    names = "AWS_CA_BUNDLE, ca_bundle, REQUESTS_CA_BUNDLE"
    if not configured.strip():
        raise ConfigurationError(
            "E_CFG_TLS",
            f"the bundle of certificates ({names}) is empty",
            hint="name a file, or unset it for the built-in ones; certificates are always checked",
        )
    path = str(Path(configured).absolute())
    if fault := _bundle_fault(path):
        raise ConfigurationError(
            "E_CFG_TLS",
            f"the bundle of certificates {one_line(path)} ({names}) cannot be used: {fault}",
            hint="name a readable file of PEM certificates, or unset it for the built-in ones",
        )
    return path


def _bundle_fault(path: str) -> str:
    """Why this file cannot be used as a bundle; empty where it can."""
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        return one_line(str(exc))
    return ""


def naming_bundle(error: BackhaulError, ca_bundle: str | None) -> BackhaulError:
    """The outage, with the bundle's file where that is why nothing connects.

    The libraries report "No such file or directory", without a name.
    """
    fault = _bundle_fault(ca_bundle) if ca_bundle is not None else ""
    if not fault or not isinstance(error, OutageError):
        return error
    return OutageError.of(
        error.dependency,
        error.code,
        f"{error.message}; the bundle of certificates {one_line(str(ca_bundle))} cannot be used: "
        f"{fault}",
        hint="put the file back; AWS_CA_BUNDLE, ca_bundle or REQUESTS_CA_BUNDLE named it at start",
    )
