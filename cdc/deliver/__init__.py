"""Deliver: a signed request goes out, an outcome comes back.

``guard`` says which addresses may be dialled, ``dns`` looks names up, ``client`` is the seam
(request in, outcome out), ``wire`` keeps a hostile peer in bounds, ``outcome`` puts names to
what happened.
"""

from cdc.deliver.client import Client
from cdc.deliver.guard import Guard, Refused

__all__ = ["Client", "Guard", "Refused"]
