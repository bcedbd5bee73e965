"""What several commands do with their options."""

from agent.errors import UsageError


def split_broker(text: str) -> tuple[str, int]:
    """Return (host, port) of "host:port", "[v6]:port" or "host" (port 1883).

    Raises
    ------
    UsageError
        neither of these
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "1883"
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--broker: expected host:port, got {text!r}")
    return host.strip("[]"), int(port)
