"""Deliver: a signed request goes out, an outcome comes back.

``client`` is the seam (request in, outcome out). Below it, in the order of a request: ``url`` (what
an endpoint means), ``trust`` (certificates), ``pool`` (a connection is kept or dialled), ``dns``
and ``guard`` (which addresses, and which of them may be dialled), ``proxy`` (by way of which),
``connection`` (one exchange, with a deadline), ``answer`` (keeps a hostile peer in bounds),
``outcome`` (puts names to what happened).
"""

from cdc.deliver.client import Client, Withheld
from cdc.deliver.guard import AddressRefused, Guard
from cdc.deliver.outcome import Unable
from cdc.deliver.pool import Crowded

__all__ = ["AddressRefused", "Client", "Crowded", "Guard", "Unable", "Withheld"]
