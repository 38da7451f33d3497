"""A page with hls.js on an origin of its own, as on somebody's website."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from streamrec.settings import PROJECT

SCRIPT = PROJECT / "streamrec" / "web" / "static" / "hls.light.min.js"
PAGE = """<!doctype html><title>player</title><video id="player" muted></video><script src="hls.js"></script>
<script>
  window.errors = []; window.fatal = [];
  window.play = (url, start) => {
    const hls = window.hls = new Hls({enableWorker: false, startPosition: start ?? -1});
    hls.on(Hls.Events.ERROR, (_, data) => (data.fatal ? fatal : errors).push(data.details));
    hls.loadSource(url);
    hls.attachMedia(player);
    return player.play().catch(String);
  };
</script>"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_script = self.path == "/hls.js"
        body = SCRIPT.read_bytes() if is_script else PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it overrides
        """Say nothing."""


@contextmanager
def site() -> Iterator[str]:
    """The origin of a running web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
