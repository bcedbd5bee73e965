"""An RTSP camera on loopback, for tests: GStreamer's server. Run by Debian's own Python; ends when its stdin does.

Prints "port N" once it serves rtsp://127.0.0.1:N/live, or "missing: …" and ends where a part of it is not installed.
"""

import argparse
import random
import sys
import threading
import time

ENCODERS = {
    # One slice a picture, and its parameters once a keyframe: FFmpeg takes the second slice of a keyframe that repeats
    # them for another picture.
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=2000 threads=1 sliced-threads=false"
    " key-int-max={keyframe} ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=2000 key-int-max={keyframe}"
    " ! h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96",
    "mjpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
}
PARTS = (
    *("appsrc", "videoconvert", "udpsink", "jpegenc", "rtpjpegpay"),
    *("x264enc", "h264parse", "rtph264pay", "x265enc", "h265parse", "rtph265pay"),
)
BITS = 32
STAMP_ROWS = 16

try:
    import gi

    for name in ("Gst", "GstRtsp", "GstRtspServer"):
        gi.require_version(name, "1.0")
    from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer
except (ImportError, ValueError) as error:
    print(f"missing: {error}")
    sys.exit()


class Pictures:
    """Grey blocks that move, uint8 (h, w); the cells of the first rows are the time, ms of CLOCK_MONOTONIC."""

    def __init__(self, width, height):
        self.width, self.number, seeded = width, 0, random.Random(1)
        blocks = [bytes(seeded.choices(range(30, 220), k=width // 8)) for _ in range(height // 8)]
        self.rows = [bytes(v for v in row for _ in range(8)) for row in blocks for _ in range(8)]

    def next(self):
        self.number += 1
        now, cell, by = int(time.monotonic() * 1000), self.width // BITS, self.number * 2 % self.width
        stamp = b"".join((b"\xeb" if now >> bit & 1 else b"\x10") * cell for bit in range(BITS)).ljust(self.width)
        return stamp * STAMP_ROWS + b"".join(row[by:] + row[:by] for row in self.rows[STAMP_ROWS:])


def feed(media, width, height, fps):
    """Push a picture every 1/fps seconds, also while nobody takes them: then the oldest is dropped."""
    source, pictures, ended = media.get_element().get_by_name("source"), Pictures(width, height), threading.Event()
    media.connect("unprepared", lambda _: ended.set())

    def push():
        data = pictures.next()
        buffer = Gst.Buffer.new_allocate(None, len(data), None)
        buffer.fill(0, data)
        source.emit("push-buffer", buffer)
        return not ended.is_set()

    GLib.timeout_add(1000 // fps, push)


def lock(server, factory, login, digest, tls):
    """Let in who has the login, "USER:PASSWORD"; speak TLS with the PEM file `tls` if there is one."""
    auth, token, role = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken(), GstRtspServer.RTSPPermissions()
    token.set_string("media.factory.role", "viewer")
    user, password = login.split(":", 1)
    if digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    for right in ("access", "construct"):
        role.add_permission_for_role("viewer", f"media.factory.{right}", True)
    if tls:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(tls))
    factory.set_permissions(role)
    server.set_auth(auth)


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("--port", default="0")
    parse.add_argument("--codec", choices=ENCODERS, default="h264")
    parse.add_argument("--size", default="320x240")
    parse.add_argument("--fps", type=int, default=10)
    parse.add_argument("--keyframe", type=int, default=10)
    parse.add_argument("--login")
    parse.add_argument("--digest", action="store_true")
    parse.add_argument("--tls", help="with --login: PEM file of certificate and key")
    parse.add_argument("--udp", action="store_true")
    args = parse.parse_args()
    Gst.init(None)
    if missing := [part for part in PARTS if Gst.ElementFactory.find(part) is None]:
        print("missing:", *missing)
        return
    if args.tls and not Gio.TlsBackend.get_default().supports_tls():
        print("missing: glib-networking")
        return
    width, height = map(int, args.size.split("x"))
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=args.port)
    factory = GstRtspServer.RTSPMediaFactory(shared=True)
    caps = f"video/x-raw,format=GRAY8,width={width},height={height},framerate={args.fps}/1"
    source = "appsrc name=source is-live=true do-timestamp=true format=time max-buffers=2 leaky-type=downstream"
    encoder = ENCODERS[args.codec].format(keyframe=args.keyframe)
    factory.set_launch(f"( {source} caps={caps} ! videoconvert ! video/x-raw,format=I420 ! {encoder} )")
    kind = GstRtsp.RTSPLowerTrans
    factory.set_protocols(kind.UDP if args.udp else kind.TCP | kind.UDP)
    factory.connect("media-configure", lambda _, media: feed(media, width, height, args.fps))
    server.get_mount_points().add_factory("/live", factory)
    if args.login:
        lock(server, factory, args.login, args.digest, args.tls)
    server.attach(None)
    loop = GLib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    print("port", server.get_bound_port(), flush=True)
    loop.run()


main()
