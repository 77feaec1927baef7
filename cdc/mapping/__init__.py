"""The mapping: what the suite's tables mean. One declaration, from which everything follows."""

from cdc.mapping.load import default_mapping, load_mapping, parse_mapping
from cdc.mapping.model import Company, Mapping, Resource, Table, UrlTemplate
from cdc.mapping.names import written
from cdc.mapping.roads import Join, Roads, roads_of

__all__ = [
    "Company",
    "Join",
    "Mapping",
    "Resource",
    "Roads",
    "Table",
    "UrlTemplate",
    "default_mapping",
    "load_mapping",
    "parse_mapping",
    "roads_of",
    "written",
]
