"""What the hrefs of a catalogue may reach. Strangers wrote them, and this machine may read more than they.

1. `guard_for` makes a guard: the catalogue's own hosts and buckets, those where public catalogues are known
   to keep their files, the folder of a local catalogue, and what the user adds.
2. `require_allowed` checks an href by its text alone, and a local file by where its links lead.
3. `allowed_addresses` checks a host after its name was resolved. The connection goes to the addresses that it
   returns, so that the name cannot lead elsewhere a moment later.

An href without a guard was named by the user, and nothing of it is refused here. Behind a proxy, only the
proxy sees addresses: then names are checked here, and the proxy has to keep private networks closed.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import stat
import urllib.parse
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files.hrefs import public_href
from pipeline.files.remote_error import RemoteError
from pipeline.schema.imagery import HrefGuard

type IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

KNOWN_HOSTS = {
    "planetarycomputer.microsoft.com": ("*.blob.core.windows.net",),
    "earth-search.aws.element84.com": (
        "sentinel-cogs.s3",
        "e84-earth-search-sentinel-data.s3",
        "sentinel-s2-l1c.s3",
        "sentinel-s2-l2a.s3",
        "usgs-landsat.s3",
    ),
    "landsatlook.usgs.gov": ("usgs-landsat.s3",),
}
"""Where public catalogues keep their files, by the catalogue's host, as seen in their items."""

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Google, Azure, OpenStack, DigitalOcean
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS
        "fd00:ec2::254",  # AWS, IPv6
        "fd00:ec2::23",  # AWS EKS, IPv6
        "fd20:ce::254",  # Google, IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure, a public address
        "192.0.0.192",  # Oracle
    )
)
"""Addresses at which clouds give credentials to their machines. They are refused whatever a guard says."""

_NO_SERVERS = tuple(
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8", "192.88.99.0/24")
)
"""Unspecified, multicast, reserved and broadcast addresses."""

_DETOUR = re.compile(r"/(?:\.|%2e){1,2}(?:[/?#]|%2f|$)|%2f(?:\.|%2e){2}", re.IGNORECASE)
"""Parts of a path that clients resolve: on an object store's own host they lead to another bucket."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
"""Hosts that resolvers read as an IPv4 address, in its usual form or not (WHATWG URL, "ends in a number")."""

_STORES = (
    re.compile(
        r"(?:(?P<bucket>.+)\.)?s3(?:[.-]dualstack)?(?:[.-][a-z]{2}(?:-[a-z]+)+-\d)?\.amazonaws\.com(?:\.cn)?"
    ),
    re.compile(r"(?:(?P<bucket>.+)\.)?storage\.googleapis\.com"),
)
"""Hosts of object stores that hold everybody's buckets; the bucket stands before the host or in the path."""


def guard_for(
    hosts: Iterable[str], source: str, allow_hosts: Iterable[str] = (), allow_roots: Iterable[str] = ()
) -> HrefGuard:
    """Make the guard of a catalogue's hrefs.

    `hosts`: the catalogue's own hosts. `source`: what followed `--source`; its host or bucket is the
    catalogue's own as well, and the folder of a local one may be read. `allow_hosts`: HOST, HOST:PORT,
    *.HOST, s3://BUCKET, or * for all public hosts. `allow_roots`: folders. Raises InputError for what is none
    of these.
    """
    place = source.removeprefix("stac:").partition("#")[0]
    roots = [_existing_folder(root) for root in allow_roots]
    own = {entry for host in hosts if host for entry in _entries(host)}
    if "://" in place:
        own |= set(_entries(place))
    elif place:
        path = Path(os.path.realpath(place))
        roots.append(str(path if path.is_dir() else path.parent))
    known = {entry for name in own for entry in KNOWN_HOSTS.get(name, ())}
    added = {entry for text in allow_hosts for entry in _allowed_entries(text)}
    named = {_split_entry(entry)[0] for entry in own | added if "*" not in entry}
    return HrefGuard(
        hosts=tuple(sorted(own | known | added)),
        roots=tuple(sorted(set(roots))),
        private=any(_is_private_here(host) for host in named),
    )


def require_allowed(href: str, guard: HrefGuard | None) -> None:
    """Refuse an href that its guard does not allow. It asks no server and resolves no name.

    Raises InputError. No message shows a query string.
    """
    if guard is None:
        return
    if _CONTROL.search(href):
        raise _refused(href, "control characters in an href")
    if "://" in href and _DETOUR.search(href):
        raise _refused(href, "a way up")
    if "://" in href and "\\" not in href and _is_known_host(deciding_part(href), guard):
        return
    if href.lstrip().startswith("<") or re.match(r"/+vsi", os.path.normpath(href).lower()):
        raise _refused(href, "GDAL's own path syntax")
    if "://" in href:
        _require_host(href, guard)
    else:
        _require_below_root(href, guard)


def deciding_part(url: str) -> str:
    """Cut a URL off behind what decides: scheme and host, and the bucket where the path names it."""
    parts = url.split("/", 4)
    origin = "/".join(parts[:3])
    return "/".join(parts[:4]) if _has_all_buckets(origin) else origin


@lru_cache(maxsize=1024)
def _has_all_buckets(origin: str) -> bool:
    """Tell whether a scheme and host are an object store's own, which names the bucket in the path."""
    host = origin.partition("://")[2].partition(":")[0].lower()
    return host != "" and _store_of(host) == host


@lru_cache(maxsize=1024)
def _is_known_host(begin: str, guard: HrefGuard) -> bool:
    """Tell whether hrefs that begin so are allowed."""
    try:
        _require_host(f"{begin}/", guard)
    except InputError:
        return False
    return True


def _require_host(href: str, guard: HrefGuard) -> None:
    """Refuse a URL whose scheme, host or bucket the guard does not allow. Raises InputError."""
    scheme = href.partition("://")[0]
    if scheme.lower() not in _PORTS:
        raise _refused(href, f"the scheme {scheme[:20]}://")
    name, port = _name_and_port(href)
    if not any(_matches(entry, name, port) for entry in guard.hosts):
        shown = f"s3://{name.removesuffix('.s3')}" if name.endswith(".s3") else name
        raise InputError(
            "The files of a catalogue must lie on hosts that are allowed",
            came=public_href(href),
            remedy=f"give --allow-host {shown} if you trust it",
        )


def allowed_addresses(name: str, host: str, port: int, guard: HrefGuard | None) -> list[Any]:
    """Resolve the host of a connection: the answers of `socket.getaddrinfo`, all of which may be asked.

    Private, loopback and link-local addresses are refused, except under names that the guard lists as they
    are while it allows private ones. Metadata servers, multicast and reserved addresses always are. One bad
    address among good ones is enough. `name`: the object's public href, for messages. Raises RemoteError, and
    `getaddrinfo`'s errors.
    """
    if guard is None:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    exact = [entry for entry in guard.hosts if "*" not in entry]
    private = guard.private and any(_matches(entry, host.lower(), port) for entry in exact)
    if not (_store_of(host) or any(_matches(entry, host.lower(), port) for entry in guard.hosts)):
        raise RemoteError(name, f"its host {host} is not allowed", remedy=f"give --allow-host {host}")
    found = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    for *_, place in found:
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        if problem := _problem(address, private=private):
            raise RemoteError(
                name,
                f"its host {host} leads to {address}, {problem}",
                remedy=f"give --allow-host {host} if this host may be asked" if "private" in problem else "",
            )
    return found


def _problem(address: IpAddress, *, private: bool) -> str:
    """Say why an address must not be asked. Empty: it may be."""
    for inner in (address, *_inside(address)):
        if inner in _METADATA:
            return "where a cloud keeps credentials"
        if any(inner.version == network.version and inner in network for network in _NO_SERVERS):
            return "which is no server's address"
        if not inner.is_global and not private:
            return "a private address"
    return ""


def _inside(address: IpAddress) -> list[IpAddress]:
    """List the IPv4 addresses that an IPv6 address stands for: mapped, compatible, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if int(address) >> 32 in (0, 0x64FF9B << 64) and int(address) > 1:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]


_PORTS = {"http": 80, "https": 443, "s3": 443}
"""Schemes that a catalogue's hrefs may have, and their ports."""


def _name_and_port(href: str) -> tuple[str, int]:
    """Read the name under which a guard may list the host of a URL, and its port. Raises InputError.

    `bucket.s3` stands for a bucket of Amazon's, whether it is asked by s3:// or https://.
    """
    scheme = href.partition("://")[0].lower()
    authority = re.split(r"[/?#]", href.partition("://")[2], maxsplit=1)[0]
    if "@" in authority or "\\" in href:
        raise _refused(href, "a user name or a backslash in an href")
    if not authority.isascii() or "%" in authority:
        raise _refused(href, "a host that is not written as the DNS knows it")
    try:
        parts = urllib.parse.urlsplit(f"//{authority}")
        host = parts.hostname or ""
        given = parts.port
    except ValueError:
        raise _refused(href, "a malformed host") from None
    if scheme == "s3":
        if given is not None or not _NAME.fullmatch(host):
            raise _refused(href, "a malformed bucket")
        return f"{host}.s3", _PORTS[scheme]
    _require_plain_host(href, host)
    port = _PORTS[scheme] if given is None else given
    if port < 1024 and port not in (80, 443):
        raise _refused(href, f"port {port}")
    return _bucket_name(host, href) or host, port


def _require_plain_host(href: str, host: str) -> None:
    """Refuse hosts that are no DNS name and no address in its usual form. Raises InputError."""
    if ":" in host or _NUMERIC.fullmatch(host):
        try:
            if ipaddress.ip_address(host).compressed == host:
                return
        except ValueError:
            pass
        raise _refused(href, "an address in an unusual form")
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise _refused(href, "a malformed host")


def _store_of(host: str) -> str:
    """Name the object store that a host belongs to, without the bucket. Empty: it belongs to none."""
    for pattern in _STORES:
        if found := pattern.fullmatch(host.lower()):
            return host.lower().removeprefix(f"{found['bucket']}.")
    return ""


def _bucket_name(host: str, href: str) -> str:
    """Name the bucket of a URL of an object store. Empty: it is no such URL."""
    store = _store_of(host)
    if not store:
        return ""
    kind = "s3" if "amazonaws" in store else store
    if host != store:
        return f"{host.removesuffix('.' + store)}.{kind}"
    path = urllib.parse.unquote(urllib.parse.urlsplit(href).path).lstrip("/")
    return f"{path.partition('/')[0]}.{kind}"


def _entries(host_or_url: str) -> tuple[str, ...]:
    """Name a host that the user gave, or that of a URL, as a guard lists it. Its ports are all allowed."""
    url = host_or_url if "://" in host_or_url else f"https://{host_or_url}/"
    name, _ = _name_and_port(url)
    return () if name.startswith(".") else (name,)  # an object store's own host is nobody's


def _allowed_entries(text: str) -> tuple[str, ...]:
    """Read a value of --allow-host. Raises InputError."""
    plain = text.strip().lower()
    base = plain.removeprefix("*.")
    try:
        if plain == "*":
            return ("*",)
        if "://" in plain or base.endswith(".s3"):
            return _entries(plain) if "://" in plain else (plain,)
        name, port = _name_and_port(f"https://{base}/")
    except InputError:
        raise InputError(
            "--allow-host must be a host, HOST:PORT, *.HOST, s3://BUCKET or *",
            came=public_href(text),
            remedy="write it as in the hrefs, such as data.example.org",
        ) from None
    if base != plain:
        return (f"*.{name}",)
    if re.search(r":\d+$", plain) and plain.count(":") == 1:
        return (f"{name}:{port}",)
    return (name,)


def authority(url: str) -> str:
    """Name the host and port of a well-formed URL as a guard lists them."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    return host if ":" in host else f"{host}:{parts.port or _PORTS[parts.scheme]}"


def _split_entry(entry: str) -> tuple[str, int | None]:
    """Split a guard's entry into host and port. An IPv6 address has none."""
    host, colon, port = entry.rpartition(":")
    return (host, int(port)) if colon and ":" not in host else (entry, None)


def _matches(entry: str, name: str, port: int) -> bool:
    """Tell whether an entry of a guard allows a name and port."""
    wanted, wanted_port = _split_entry(entry)
    if wanted_port not in (None, port):
        return False
    return wanted == "*" or (name.endswith(wanted[1:]) if wanted.startswith("*.") else name == wanted)


def _is_private_here(host: str) -> bool:
    """Tell whether a host that the user named leads to a private address. Unknown names do not."""
    if host.endswith(".s3"):
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    addresses = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
    return any(not inner.is_global for address in addresses for inner in (address, *_inside(address)))


def _require_below_root(href: str, guard: HrefGuard) -> None:
    """Refuse a local file outside the guard's folders, and what is no plain file. Raises InputError."""
    path = Path(os.path.realpath(href))
    if not any(path.is_relative_to(root) for root in guard.roots):
        raise InputError(
            "The local files of a catalogue must lie in its own folder, or below --allow-root",
            came=href,
            remedy=f"give --allow-root {path.parent} if you trust the catalogue",
        )
    try:
        plain = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return  # whoever opens it says what is wrong
    if not plain:
        raise _refused(href, "something that is no file")


def _existing_folder(root: str) -> str:
    path = os.path.realpath(root)
    if not os.path.isdir(path):
        raise InputError("--allow-root must be a folder", came=root, remedy="check the path")
    return path


def _refused(href: str, came: str) -> InputError:
    public = public_href("".join(char if char.isprintable() else "?" for char in href))
    return InputError(
        "An href of a catalogue must be a plain path or URL of a GeoTIFF (http, https, s3)",
        came=f"{came}: {public if len(public) <= 120 else public[:117] + '...'}",
        remedy="leave this item out, or ask whoever keeps the catalogue",
    )
