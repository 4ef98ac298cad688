"""Connections of a worker to S3: one urllib3 pool per host and bundle of certificates."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

import urllib3
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from backhaul.adapters.aws.errors import s3_unreachable
from backhaul.adapters.aws.s3_body import count_wire
from backhaul.adapters.aws.tls import is_loopback, refuse_plain_http


class Connections:
    """Pools by origin, such as `https://s3.eu-west-1.amazonaws.com`; shared by threads.

    Args:
        max_connections: Per host; a thread that needs one more waits until a body is closed.
    """

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._pools: dict[tuple[str, str | None], urllib3.HTTPConnectionPool] = {}
        self._lock = threading.Lock()

    def pool(self, origin: str, ca_bundle: str | None) -> urllib3.HTTPConnectionPool:
        """The pool of this origin.

        Args:
            ca_bundle: As the agent resolved it for its own clients; None: the built-in one.

        Raises:
            ConfigurationError: E_CFG_TLS.
            OutageError: `s3` E_S3_UNREACHABLE: HTTPS_PROXY is not a URL.
        """
        pool = self._pools.get((origin, ca_bundle))
        if pool is None:
            with self._lock:
                pool = self._pools.get((origin, ca_bundle)) or self._new_pool(origin, ca_bundle)
                self._pools[origin, ca_bundle] = pool
        return pool

    def close(self) -> None:
        """Close the idle connections; bodies still open stay readable."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()

    def _new_pool(self, origin: str, ca_bundle: str | None) -> urllib3.HTTPConnectionPool:
        """HTTPS_PROXY and NO_PROXY count, as they do for botocore; never for this machine."""
        refuse_plain_http(origin, "the S3 endpoint")
        host = urlsplit(origin).hostname or ""
        proxy = ProxyConfiguration({} if is_loopback(host) else get_environ_proxies(origin))
        proxy_url = proxy.proxy_url_for(origin)
        options: dict[str, Any] = {
            "maxsize": self._max_connections,
            "block": True,
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": ca_bundle or get_cert_path(verify=True),
        }
        if not proxy_url:
            return count_wire(urllib3.PoolManager(**options).connection_from_url(origin))
        try:
            proxied = urllib3.ProxyManager(
                proxy_url, proxy_headers=proxy.proxy_headers_for(proxy_url), **options
            )
            return count_wire(proxied.connection_from_url(origin))
        except (ValueError, HTTPError) as exc:
            # An outage, as botocore's clients have it: SQS may be reached without that proxy. The
            # URL is not repeated: it may hold a password.
            raise s3_unreachable(f"{host}: HTTPS_PROXY is no URL of a proxy") from exc
