"""The reply target `lineage` put together: events of OpenLineage, posted as replies are."""

from __future__ import annotations

import ssl
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from backhaul.adapters.ledger import open_reader
from backhaul.app.reply_targets import read_secret
from backhaul.core.errors import ConfigurationError, PermanentError
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.replies.reply import LINEAGE
from backhaul.core.replies.webhook import WebhookUrl, parse_webhook
from backhaul.settings.model import Settings, in_home

if TYPE_CHECKING:
    from backhaul.adapters.reply.webhook import WebhookTarget

ENDPOINT = "/api/v1/lineage"


def lineage_target(settings: Settings) -> WebhookTarget | None:
    """What takes replies of the name `lineage`; None: `[lineage]` has no url.

    Contacts nothing; everything that can be checked without that is.

    Raises:
        ConfigurationError: E_LINEAGE_PACKAGE: the extra is not installed; E_LINEAGE_SETTING: the
            url is none; E_REPLY_FILE, E_CFG_PERMISSIONS: as `read_secret`.
    """
    section = settings.lineage
    if section.url is None:
        return None
    from backhaul.adapters.lineage.events import LineageEvents
    from backhaul.adapters.reply.webhook import WebhookTarget

    ledger = settings.ledger_place
    events = LineageEvents(section.namespace, lambda transfer_id: _parent(ledger, transfer_id))
    key = ca_file = None
    if section.api_key_file is not None:
        key = read_secret(in_home(section.api_key_file), "[lineage] api_key_file")
    if section.ca_file is not None:
        ca_file = in_home(section.ca_file)
    try:
        return WebhookTarget(
            LINEAGE,
            lineage_url(section.url),
            secret=None,
            ca_file=ca_file,
            limit_s=section.timeout,
            body_of=events.body,
            api_key=key,
        )
    except (OSError, ssl.SSLError) as exc:
        raise ConfigurationError(
            "E_LINEAGE_SETTING",
            f"[lineage] ca_file {ca_file} cannot be read, or holds no certificate in PEM",
            hint="name a file that begins with -----BEGIN CERTIFICATE-----",
        ) from exc


def lineage_url(text: str) -> WebhookUrl:
    """The server's endpoint, from the URL of the server or of the endpoint itself.

    Raises:
        ConfigurationError: E_LINEAGE_SETTING.
    """
    try:
        url = parse_webhook(text)
    except ValueError as exc:
        raise ConfigurationError(
            "E_LINEAGE_SETTING",
            f"[lineage] url {exc}",
            hint="write one such as https://marquez.example.com",
        ) from exc
    path, mark, query = url.target.partition("?")
    path = path.rstrip("/")
    if not path.endswith(ENDPOINT):
        path += ENDPOINT
    return replace(url, target=f"{path}{mark}{query}")


def _parent(ledger: LedgerPlace, transfer_id: str) -> str | None:
    """The parent run that the transfer's message gave."""
    with closing(open_reader(ledger)) as reader:
        try:
            return reader.transfer(transfer_id).openlineage_parent
        except PermanentError:
            return None  # `replies test` has a transfer of no ledger
