"""`[metrics]`: where the agent shows its metrics and its health."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Annotated

from pydantic import BeforeValidator, Field

from backhaul.settings.base import NamedPath, StrictModel

_LISTEN = re.compile(r"(\[[^\]]*\]|[^\[\]:]*):([0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_HINT = "write HOST:PORT, such as 127.0.0.1:9187 or [::1]:9187"
PORT_MOST = 65_535


def parse_listen(value: object) -> object:
    """Text such as `127.0.0.1:9187`, unchanged; pydantic checks any other type.

    Raises:
        ValueError: As `split_listen`.
    """
    if isinstance(value, str):
        split_listen(value)
    return value


def split_listen(text: str) -> tuple[str, int]:
    """Host and port; of `[::1]:9187` the host is `::1`.

    Raises:
        ValueError: No host, no port, or a port that there is not.
    """
    found = _LISTEN.fullmatch(text)
    if found is None:
        raise ValueError(_HINT)
    host, port = found[1], int(found[2])
    if not 1 <= port <= PORT_MOST:
        raise ValueError(f"a port is from 1 to {PORT_MOST}")
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1])), port
        except ValueError:
            raise ValueError(_HINT) from None
    if _HOST.fullmatch(host) is None:
        raise ValueError(_HINT)
    return host, port


class MetricsSection(StrictModel):
    """Metrics and health of the agent, for Prometheus and for probes."""

    listen: Annotated[str | None, BeforeValidator(parse_listen)] = Field(
        None, description="HOST:PORT that answers /metrics, /livez and /readyz; unset: none"
    )
    textfile: NamedPath | None = Field(
        None, description="a file for node_exporter's textfile collector, such as backhaul.prom"
    )

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of `listen`."""
        return None if self.listen is None else split_listen(self.listen)
