"""structlog, imported without rich: that takes a tenth of the processor time of a daemon's start.

Where rich is installed structlog imports it, and pygments, for tracebacks that are not drawn here.
"""

from __future__ import annotations

import sys

_MODULES: dict[str, object] = sys.modules  # type: ignore[assignment]  # None: "not to be found"
_hidden = "rich" not in _MODULES
if _hidden:
    _MODULES["rich"] = None
try:
    import structlog as structlog
finally:
    if _hidden:
        del _MODULES["rich"]
