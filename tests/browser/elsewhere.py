"""Another site on this machine, as an attacker would have one, or a ResourceManager."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Elsewhere:
    """Serves one page at every address, and notes the headers of each request.

    Args:
        host: `127.0.0.1` is the dashboard's own site on another port; `localhost` is another site.
    """

    def __init__(self, host: str, html: str = "<h1>elsewhere</h1>") -> None:
        self.headers: list[dict[str, str]] = []
        noted = self.headers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                noted.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(html.encode())

            def log_message(self, *about: Any) -> None:
                """Not on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.base = f"http://{host}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
