"""Write site/egress.yaml: the addresses that pods may talk to.

python infra/kubernetes/egress_cidrs.py --ranges ip-ranges.json --region us-west-2 \\
    --host earth-search.aws.element84.com --api-server 10.0.12.7/32 --api-server 10.0.40.9/32 \\
    > infra/kubernetes/site/egress.yaml

1. `--ranges` is the file of its addresses that AWS publishes (ip-ranges.json). Those of S3 in one region are
   taken. They stand for every bucket there: which of them pods may use, VPC endpoint and roles decide.
2. `--host` is looked up now. A host behind a content network has other addresses tomorrow: then use --cidr
   with that network's own list, an egress proxy (HTTPS_PROXY), or host names (components/cilium-egress).
3. `--api-server`: the address of the service `kubernetes`, and those of its endpoints.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

Lookup = Callable[[str], list[str]]

WIDEST = 8
"""Length of the shortest prefix that is taken: a wider one would be half the network."""

POLICY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {name}
spec:
  egress:
    - to:
{blocks}
      ports:
        - {{protocol: TCP, port: 443}}
"""


class UsageError(ValueError):
    """What was given cannot be used; the message says what to do."""


def s3_cidrs(document: object, region: str) -> list[str]:
    """The IPv4 prefixes of S3 in a region, from AWS's own list. Raises UsageError when it has none."""
    prefixes = document.get("prefixes") if isinstance(document, dict) else None
    found = [
        str(one["ip_prefix"])
        for one in prefixes or []
        if one.get("service") == "S3" and one.get("region") == region and one.get("ip_prefix")
    ]
    if not found:
        raise UsageError(f"--ranges must be AWS's ip-ranges.json with S3 in {region}, and has none of it")
    return found


def addresses_of(host: str) -> list[str]:
    """The IPv4 addresses of a host, as DNS says now. Raises UsageError for one that has none."""
    try:
        found = socket.getaddrinfo(host, 443, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"--host {host} has no address here: {error}") from error
    return [f"{one[4][0]}/32" for one in found]


def merged(cidrs: Iterable[str], option: str) -> list[str]:
    """The same addresses in as few prefixes as there can be, in order. Raises UsageError."""
    networks = []
    for text in cidrs:
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise UsageError(f"{option} takes IPv4 prefixes such as 10.0.12.7/32: {error}") from error
        if network.prefixlen < WIDEST:
            raise UsageError(f"{option} {text} is too wide: name what pods need, at most a /{WIDEST}")
        networks.append(network)
    return [str(one) for one in ipaddress.collapse_addresses(networks)]


def policies(api_server: list[str], outside: list[str]) -> str:
    """The patches as YAML."""
    named = {"api-server": api_server, "outside": outside}
    return "---\n".join(
        POLICY.format(name=name, blocks="\n".join(f"        - ipBlock: {{cidr: {one}}}" for one in cidrs))
        for name, cidrs in named.items()
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        "egress_cidrs.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--ranges", type=Path, required=True, metavar="FILE", help="AWS's ip-ranges.json")
    top.add_argument("--region", required=True, help="region of the bucket and of the imagery")
    top.add_argument("--host", action="append", default=[], help="a catalogue; repeat for several")
    top.add_argument("--cidr", action="append", default=[], help="further addresses; repeat for several")
    top.add_argument(
        "--api-server",
        action="append",
        required=True,
        metavar="CIDR",
        help="repeat for each of its addresses",
    )
    return top


def main(argv: list[str] | None = None, lookup: Lookup = addresses_of) -> int:
    """Print the patches; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        outside = s3_cidrs(json.loads(args.ranges.read_text()), args.region)
        outside += [address for host in args.host for address in lookup(host)]
        text = policies(
            merged(args.api_server, "--api-server"), merged([*outside, *args.cidr], "--host or --cidr")
        )
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"# Written by: python infra/kubernetes/egress_cidrs.py\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
