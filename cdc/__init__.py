"""Every committed change of the interview suite's tables becomes one signed POST.

Read ``cdc/daemon/pipeline.py`` first; ``ARCHITECTURE.md`` has the code map.
"""

__version__ = "0.2.0.dev0"
