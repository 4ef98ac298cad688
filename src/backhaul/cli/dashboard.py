"""`backhaul dashboard`: web pages on the ledger."""

from __future__ import annotations

from pathlib import Path

import click

from backhaul.cli.options import Files, OnceOnly, files_options


@click.command("dashboard", cls=OnceOnly)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    show_default="127.0.0.1:8787",
    help="Where it listens; port 0 takes a free one.",
)
@click.option(
    "--host",
    "names",
    metavar="NAME",
    multiple=True,
    help="A further name under which browsers reach it, such as the proxy's. Repeatable.",
)
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path),
    help="Certificate and chain, PEM: serves https.",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path),
    help="Its key, PEM; default: in the same file.",
)
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="A proxy in front adds TLS: other machines may connect, X-Forwarded-Proto counts.",
)
@click.option(
    "--actions",
    is_flag=True,
    help="Pages can cancel, retry, pause, resume and limit; each act is in the journal.",
)
@click.option("--link", is_flag=True, help="Print the link of the dashboard that runs, and end.")
@click.option("--new-token", is_flag=True, help="Draw a new token: old links and logins end.")
@files_options
def command(  # noqa: PLR0913 - an option each
    *,
    listen: str | None,
    names: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
    actions: bool,
    link: bool,
    new_token: bool,
    files: Files,
) -> int:
    r"""Serve web pages on the ledger: health, queue, routes, transfers, dead letters, plots.

    \b
    Example:
      backhaul dashboard
      backhaul dashboard --listen 0.0.0.0:8787 --tls-cert cert.pem --tls-key key.pem

    It prints one line, the link that opens it, and runs until it is stopped. It reads the ledger
    alone: no AWS, no cluster; the agent does not notice it. Without --actions it changes nothing.
    """
    from backhaul.dashboard.run import (
        DEFAULT_LISTEN,
        Listening,
        is_journal,
        parse_listen,
        parse_name,
        printed_link,
        serve,
    )

    if tls_key is not None and tls_cert is None:
        raise click.UsageError("--tls-key needs --tls-cert")
    if link and new_token:
        raise click.UsageError("--link prints the link as it is; --new-token is for a start")
    is_described = bool(listen or names or tls_cert or behind_proxy)
    host, port = parse_listen(DEFAULT_LISTEN if listen is None else listen)
    listening = Listening(
        host=host,
        port=port,
        names=tuple(parse_name(one) for one in names),
        is_behind_proxy=behind_proxy,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    settings = files.settings(needs=("bandwidth",))
    if link:
        click.echo(printed_link(settings, listening if is_described else None))
        return 0

    def announce(url: str) -> None:
        if is_journal(1):
            # Whoever may read the journal would be let in.
            url = f"{url.partition('?')[0]} (backhaul dashboard --link prints the way in)"
        click.echo(url)

    serve(
        settings,
        listening,
        is_new_token=new_token,
        context=files.context() if actions else None,
        announce=announce,
    )
    return 0
