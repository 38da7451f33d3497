"""A real nginx: live HLS that ffmpeg writes, and an RTMP origin that ffmpeg publishes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.station import programs
from tests.station.clips import Clip

_COMMON = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
{user}{modules}
events {{ worker_connections 2048; }}
"""
_HLS = """
http {{
  types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; add_header Cache-Control no-cache; }}
}}
"""
_RTMP = """
rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}
"""
_TLS = """
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port} ssl; ssl_certificate %(certificate)s; ssl_certificate_key %(certificate)s;
    location / {{ proxy_pass http://%(behind)s; proxy_buffering off; }} }}
}}
"""
_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")


class Origin:
    """A server that ffmpeg feeds with clips; `url` is where a recorder finds what `play` plays."""

    def __init__(self, scheme: str, port: int, folder: Path) -> None:
        self._scheme = scheme
        self.port = port
        self._folder = folder
        self._players: dict[str, ExitStack] = {}

    def url(self, name: str) -> str:
        """The address of what is played under a name."""
        path = f"{name}/live.m3u8" if self._scheme == "http" else f"live/{name}"
        return f"{self._scheme}://127.0.0.1:{self.port}/{path}"

    def play(self, name: str, clip: Clip, *, segment_seconds: int = 2) -> None:
        """Play `clip` from its beginning at its own pace, without encoding it again."""
        command = [programs.ffmpeg(), "-hide_banner", "-loglevel", "warning", "-re", "-i", str(clip.path)]
        command += ["-map", "0:v", "-map", "0:a", "-c", "copy", *self._output(name, segment_seconds)]
        stack = self._players[name] = ExitStack()
        stack.enter_context(programs.running(command, self._folder / f"{name}.log"))
        if self._scheme == "http":
            playlist = self._folder / "www" / name / "live.m3u8"
            programs.eventually(playlist.exists, 15, f"the playlist of {name} is there")

    def _output(self, name: str, segment_seconds: int) -> list[str]:
        if self._scheme == "rtmp":
            return ["-f", "flv", "-flvflags", "no_duration_filesize", self.url(name)]
        folder = self._folder / "www" / name
        folder.mkdir(parents=True, exist_ok=True)
        return ["-f", "hls", "-hls_time", str(segment_seconds), "-hls_list_size", "6",
                "-hls_start_number_source", "epoch",
                "-hls_flags", "delete_segments+program_date_time+omit_endlist+temp_file",
                str(folder / "live.m3u8")]  # fmt: skip

    def stop(self, name: str) -> None:
        """Stop playing."""
        self._players.pop(name).close()

    def close(self) -> None:
        """Stop everything."""
        for name in list(self._players):
            self.stop(name)


@contextmanager
def hls(folder: Path) -> Iterator[Origin]:
    """nginx serving the playlists and segments that ffmpeg writes; segments of 2 s, a window of 12 s."""
    with _serving(folder, _HLS, "http") as origin:
        yield origin


@contextmanager
def rtmp(folder: Path) -> Iterator[Origin]:
    """nginx-rtmp relaying what ffmpeg publishes."""
    programs.needed("nginx", "nginx")
    if not _MODULE.exists():
        programs.needed(str(_MODULE), "libnginx-mod-rtmp")
    with _serving(folder, _RTMP, "rtmp", modules=f"load_module {_MODULE};") as origin:
        yield origin


@contextmanager
def tls(folder: Path, behind: str, certificate: Path) -> Iterator[str]:
    """nginx in front of an HTTP server at `behind`; yields its own `host:port`."""
    block = _TLS % {"behind": behind, "certificate": certificate}
    own = folder / "tls"
    own.mkdir()
    with _serving(own, block, "https") as origin:
        yield f"127.0.0.1:{origin.port}"


@contextmanager
def _serving(folder: Path, block: str, scheme: str, *, modules: str = "") -> Iterator[Origin]:
    program = programs.needed("nginx", "nginx")
    port = programs.free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # the workers must read this test's private folder
    config = folder / "nginx.conf"
    config.write_text((_COMMON + block).format(folder=folder, port=port, user=user, modules=modules))
    (folder / "www").mkdir()
    with programs.running([program, "-p", str(folder), "-c", str(config)], folder / "nginx.log"):
        programs.eventually(lambda: programs.listens(port), 10, f"nginx listens for {scheme}")
        origin = Origin(scheme, port, folder)
        try:
            yield origin
        finally:
            origin.close()
