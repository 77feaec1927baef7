"""The address guard: webhooks go to public addresses, unless denied, and to others where allowed.

A registration names a URL that *we* call from inside the suite's network. The
guard is asked about the address actually dialled, every time a connection is made; looking at the
URL alone would be fooled by names that resolve differently a moment later. Which ranges are not
public follows the IANA registries of special-purpose addresses, written out here because the
standard library's idea of "global" changes from one Python to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from cdc.deliver import url as urls
from cdc.deliver.dns import Lookup, lookup
from cdc.errors import CdcError, ConfigError
from cdc.settings import Settings

ALLOWED_SETTING = "CDC_ALLOWED_NETWORKS"
DENIED_SETTING = "CDC_DENIED_NETWORKS"
HTTP_SETTING = "CDC_ALLOW_HTTP"

Address = IPv4Address | IPv6Address

# Narrow ranges before the wide ones they lie in: the first hit gives the name.
_V4 = tuple(
    (IPv4Network(network), rule)
    for network, rule in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.100.100.200/32", "cloud metadata"),
        ("100.64.0.0/10", "shared (carrier-grade NAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),
        ("169.254.169.254/32", "link-local, cloud metadata"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_V6 = tuple(
    (IPv6Network(network), rule)
    for network, rule in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/32", "Teredo"),
        ("2001:2::/48", "benchmarking"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "unique local (private)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_MAPPED = IPv6Network("::ffff:0:0/96")


class AddressRefused(CdcError):
    """The guard refuses an address or a scheme.

    rule: its short name, for logs and metrics.
    """

    def __init__(self, message: str, hint: str, rule: str) -> None:
        super().__init__(message, hint)
        self.rule = rule


class Guard:
    """Decides what may be dialled; holds no state, so one serves all.

    allowed:    non-public networks that may be dialled nevertheless. An IPv4 network covers the
                IPv4-mapped form (``::ffff:...``) of its addresses.
    allow_http: plain http endpoints are fine.
    resolves:   names are looked up here, and not by a proxy only (for ``preview``).
    denied:     networks that may not be dialled, public and allowed ones included: what is inside
                although its addresses are public. An IPv4 network covers every IPv6 form of its
                addresses.

    Raises ConfigError if a network would allow everything.
    """

    def __init__(
        self,
        allowed: Sequence[IPv4Network | IPv6Network] = (),
        allow_http: bool = False,
        resolves: bool = True,
        denied: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        for network in allowed:
            if network.prefixlen == 0:
                raise ConfigError(
                    f"{ALLOWED_SETTING} contains {network}, which would switch the address "
                    "guard off",
                    "Give only the networks that are meant, for example 10.1.2.0/24.",
                )
        self._v4 = tuple(n for n in allowed if isinstance(n, IPv4Network))
        self._v6 = tuple(n for n in allowed if isinstance(n, IPv6Network))
        self._denied = tuple(_plain(network) for network in denied)
        self._allow_http = allow_http
        self._resolves = resolves

    @classmethod
    def of(cls, settings: Settings) -> Guard:
        """As the settings have it. Raises ConfigError."""
        remote = settings.proxy is not None and settings.proxy_resolves
        return cls(
            settings.allowed_networks,
            settings.allow_http,
            resolves=not remote,
            denied=settings.denied_networks,
        )

    def check_address(self, address: str | Address) -> None:
        """Raise Refused, naming address, rule and setting, unless this may be dialled."""
        try:
            ip = ip_address(address)
        except ValueError:
            raise AddressRefused(f"invalid IP address {address!r}", "", "not an address") from None
        self._check_denied(ip)
        rule: str | None
        allowing: Address
        if isinstance(ip, IPv4Address):
            rule, allowing = self._judge_v4(ip), ip
        else:
            rule, allowing = self._judge_v6(ip)
        if rule is None:
            return
        means = f", which means {allowing}," if allowing != ip else ""
        width = allowing.max_prefixlen
        hint = f"If it is meant to be called, allow it: {ALLOWED_SETTING}={allowing}/{width}"
        if isinstance(allowing, IPv6Address) and allowing.scope_id is not None:
            hint = f"An address with a zone cannot be allowed, not even by {ALLOWED_SETTING}."
        raise AddressRefused(
            f"{ip}{means} is not a public address ({rule}); webhooks are not sent there", hint, rule
        )

    def check_ends(self, ours: str, peers: str) -> None:
        """Raise Refused for a connection that led to this machine itself, by a public address of
        its own: what a firewall keeps from the outside would take us for the inside.

        ours, peers: the addresses of its two ends.
        """
        if ours != peers:
            return
        ip = ip_address(peers)
        networks: tuple[IPv4Network | IPv6Network, ...] = (*self._v4, *self._v6)
        allowed = any(form in network for form in _forms(ip) for network in networks)
        if not allowed:
            raise AddressRefused(
                f"{ip} is an address of this machine itself; webhooks are not sent there",
                f"If it is meant to be called, allow it: {ALLOWED_SETTING}={ip}/{ip.max_prefixlen}",
                "this machine",
            )

    def _check_denied(self, ip: Address) -> None:
        for form in _forms(ip):
            for network in self._denied:
                if form in network:
                    means = f", which means {form}," if form != ip else ""
                    raise AddressRefused(
                        f"{ip}{means} is in a network that is denied ({network}); webhooks are "
                        "not sent there",
                        f"If it is meant to be called, take it out of {DENIED_SETTING}.",
                        "denied",
                    )

    def _judge_v4(self, ip: IPv4Address) -> str | None:
        if any(ip in network for network in self._v4):
            return None
        return next((rule for network, rule in _V4 if ip in network), None)

    def _judge_v6(self, ip: IPv6Address) -> tuple[str | None, Address]:
        """The rule that refuses, and the address that would have to be allowed."""
        if ip.scope_id is not None:
            return "an address with a zone", ip
        if any(ip in network for network in self._v6):
            return None, ip
        if ip.ipv4_mapped is not None:
            # The kernel speaks IPv4 to these: they are the address inside, also for allowing.
            return self._judge_v4(ip.ipv4_mapped), ip.ipv4_mapped
        if ip in _NAT64:
            # A gateway speaks to the address inside. Its private networks need not be the ones
            # that were allowed here, so allowing an IPv4 network does not reach through it.
            inside = IPv4Address(int(ip) & 0xFFFFFFFF)
            hit = next((rule for network, rule in _V4 if inside in network), None)
            return (None if hit is None else f"NAT64 of {inside}, {hit}"), ip
        hit = next((rule for network, rule in _V6 if ip in network), None)
        if hit is None and ip not in _GLOBAL_V6:
            hit = "reserved"
        # Tunnels are refused whole, even around a public address: who answers there is up to
        # whatever relay is near, and no receiver of today is reached that way.
        return hit, ip

    def check_url(self, url: str) -> None:
        """Refuse a URL that is malformed or that could only be refused when dialled.

        Raises UsageError for the form, Refused for scheme and address. A name that passes is
        judged again, by its addresses, at each connection.
        """
        target = urls.parse(url)
        if target.scheme == "http" and not self._allow_http:
            raise AddressRefused(
                "plain http is refused: it would be readable on the network",
                f"Use https, or allow http for all endpoints: {HTTP_SETTING}=true",
                "http",
            )
        if target.address is not None:
            self.check_address(target.address)
            urls.check_notation(target)
        elif target.host == "localhost" or target.host.endswith(".localhost"):
            self.check_address("127.0.0.1")

    async def preview(self, url: str, limit: float = 3.0, look: Lookup | None = None) -> list[str]:
        """What would stand in the way if the URL were called now; empty if nothing.

        For warnings at registration: a name may resolve to something else later.
        limit: seconds for the name server. look: how names are looked up.

        Raises what check_url raises.
        """
        self.check_url(url)
        target = urls.parse(url)
        if target.address is not None or not self._resolves:
            return []
        try:
            found = await (look or partial(lookup, limit=limit))(target.host, target.port)
        except OSError as error:
            reason = error.strerror or "unknown"
            return [f"the name {target.host} cannot be resolved now ({reason})"]
        notes: list[str] = []
        for address in found:
            try:
                self.check_address(address)
            except AddressRefused as refused:
                notes.append(f"{target.host} resolves to {address}: {refused.message}")
        return notes


def _forms(ip: Address) -> list[Address]:
    """The address, and those of IPv4 that it leads to: for what is denied, each counts."""
    if isinstance(ip, IPv4Address):
        return [ip]
    inside: list[IPv4Address | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        inside.append(IPv4Address(int(ip) & 0xFFFFFFFF))
    return [ip, *(form for form in inside if form is not None)]


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """A network of IPv4 addresses in their mapped form, as the IPv4 network that it is."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def usable(guard: Guard, addresses: Sequence[str]) -> list[str]:
    """The addresses that may be dialled, in order.

    Raises Refused, for the first one, if none may.
    """
    good: list[str] = []
    first: AddressRefused | None = None
    for address in addresses:
        try:
            guard.check_address(address)
        except AddressRefused as refused:
            first = first or refused
        else:
            good.append(address)
    if not good and first is not None:
        raise first
    return good
