"""A camera's address, as it may be shown."""

import time

import pytest

from agent.config.words import without_login

SHOWN = {
    # user:password before the host (most), also with an "@" or a "/" that nobody escaped
    "rtsp://admin:hunter2@10.0.0.7:554/stream1": "rtsp://10.0.0.7:554/stream1",
    "rtsp://admin:p@hunter2@10.0.0.7/Streaming/Channels/101": "rtsp://10.0.0.7/Streaming/Channels/101",
    "rtsp://admin:p@hunter2/?x@10.0.0.7/stream1": "rtsp://…",
    "rtsp://admin:p/hunter2@10.0.0.7/stream1": "rtsp://10.0.0.7/stream1",
    # in the path: XMEye and its many brands, cheap ONVIF cameras, parameters after ";"
    "rtsp://10.0.0.7:554/user=admin&password=hunter2&channel=1&stream=0.sdp?real_stream": (
        "rtsp://10.0.0.7:554/user=…&password=…&channel=1&stream=0.sdp?…"
    ),
    "rtsp://10.0.0.7/user=admin_password=hunter2_channel=1_stream=0.sdp": "rtsp://10.0.0.7/user=…",
    "rtsp://10.0.0.7/USER=admin&PassWord=x#hunter2/live": "rtsp://10.0.0.7/USER=…&PassWord=…/live",
    "rtsp://10.0.0.7/live;usr=admin;pwd=hunter2;ch=1": "rtsp://10.0.0.7/live;usr=…;pwd=…;ch=1",
    "rtsp://10.0.0.7:554/0/admin:hunter2/main": "rtsp://10.0.0.7:554/0/…/main",
    "http://10.0.0.7/mjpg/access_token=hunter2/video": "http://10.0.0.7/mjpg/access_token=…/video",
    # in the query: Foscam, VStarcam, Reolink
    "http://10.0.0.7:88/cgi-bin/CGIStream.cgi?cmd=GetMJStream&usr=admin&pwd=hunter2": (
        "http://10.0.0.7:88/cgi-bin/CGIStream.cgi?…"
    ),
    "http://10.0.0.7/videostream.cgi?loginuse=admin&loginpas=hunter2": "http://10.0.0.7/videostream.cgi?…",
    "http://10.0.0.7?user=admin&password=hunter2": "http://10.0.0.7?…",
    # behind no scheme, or half of one
    "admin:hunter2@10.0.0.7:554/stream1": "10.0.0.7:554/stream1",
    "admin:p@hunter2@10.0.0.7/stream1": "10.0.0.7/stream1",
    "rtsp:/admin:hunter2@10.0.0.7/stream1": "10.0.0.7/stream1",
    "rtsp//admin:hunter2@10.0.0.7/stream1": "rtsp//10.0.0.7/stream1",
    # nothing to hide: Dahua without a login, IPv6, devices, files
    "rtsp://10.0.0.7/cam/realmonitor": "rtsp://10.0.0.7/cam/realmonitor",
    "http://[fe80::1]:8080/video": "http://[fe80::1]:8080/video",
    "/dev/video2": "/dev/video2",
    "lesson@home?.mp4": "lesson@home?.mp4",
}


@pytest.mark.parametrize(("source", "shown"), SHOWN.items())
def test_an_address_is_shown_without_its_login(source: str, shown: str) -> None:
    """Wherever a camera takes its login, neither user nor password is shown; the rest is, to tell cameras apart."""
    assert without_login(source) == shown


def test_a_long_word_takes_no_longer_than_its_length() -> None:
    """A journal may hold a word of a megabyte: ten times the length is not a hundred times the time."""

    def seconds(text: str) -> float:
        began = time.process_time()
        without_login(text)
        return time.process_time() - began

    for make in ("a" * 10_000, "rtsp://host/" + "user" * 2_500, "/user:" * 1_500):
        assert seconds(make * 10) < 30 * max(seconds(make), 1e-3)
