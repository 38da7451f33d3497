"""An RTSP server of GStreamer's on loopback, for the system's own Python: `rtsp_media.py FED PORT [PASSWORD]`.

It plays what comes in as H.264 and AAC in MPEG-TS at the UDP port FED, without encoding it again. With a password,
digest authentication lets in `ann` alone (RFC 7826 section 19).
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

MEDIA = (
    "( udpsrc address=127.0.0.1 port={fed} caps=video/mpegts ! tsdemux name=parts "
    "parts. ! queue ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 "
    "parts. ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )"
)


def guard(server, factory, password: str) -> None:
    """Nobody but ann comes in."""
    permissions = GstRtspServer.RTSPPermissions.new()
    for right in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("listener", right, True)
    factory.set_permissions(permissions)
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "listener")
    auth = GstRtspServer.RTSPAuth.new()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest("ann", password, token)
    server.set_auth(auth)


def main(fed: str, port: str, password: str = "") -> None:
    """Serve until killed."""
    Gst.init(None)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(MEDIA.format(fed=fed))
    factory.set_shared(True)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/tv", factory)
    if password:
        guard(server, factory, password)
    server.attach(None)
    GLib.MainLoop().run()


main(*sys.argv[1:])
