"""Where we post to for customers: never to a place that is only ours to reach."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

MAX_URL: Final = 2_000  # characters
_NAT64: Final = IPv6Network("64:ff9b::/96")  # leads to the IPv4 address in its last 32 bits


def check_url(url: str, *, inside: bool) -> None:
    """See that something may be posted to a URL, as far as it can be said without asking.

    Args:
        url: As the customer wrote it.
        inside: Whether plain HTTP, and addresses of our own network, are allowed.

    Raises:
        ValueError: it may not; the text says why.
    """
    if len(url) > MAX_URL or not (url.isascii() and url.isprintable() and " " not in url):
        raise ValueError(f"a URL has at most {MAX_URL:,} characters, all of them visible ASCII")
    parts = urlsplit(url)
    port = parts.port  # raises, too
    if not parts.hostname or port == 0:
        raise ValueError("write the whole URL, as https://example.com/hook")
    if parts.scheme != "https" and not (inside and parts.scheme == "http"):
        raise ValueError("only https is posted to")
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave user name and password out of the URL; events are signed")
    if inside:
        return
    try:
        address = ip_address(parts.hostname)
    except ValueError:
        return  # a name: what it leads to is seen when it is posted to
    if not is_public(str(address)):
        raise ValueError(f"{address} is not an address on the internet")


def is_public(address: str) -> bool:
    """Whether an address is one on the internet: not ours, not this machine's, nobody's group.

    An IPv6 address that leads to an IPv4 address is as public as that is.
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if found in _NAT64:
            inner = IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:
            found = inner
        elif found.is_site_local:  # fec0::/10: not ours any more, and nobody else's
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved
