"""Serves a video file as a live RTSP stream that ends where the file does.

Run it with the system's Python, which has GStreamer:

/usr/bin/python3 rtsp_server.py PORT CLIP
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
port, clip = sys.argv[1:3]
server = GstRtspServer.RTSPServer()
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
parse = f'filesrc location="{clip}" ! qtdemux ! h264parse config-interval=-1 ! identity sync=true single-segment=true'
factory.set_launch(f"( {parse} ! rtph264pay name=pay0 pt=96 )")
factory.set_shared(True)
server.get_mount_points().add_factory("/clip", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
