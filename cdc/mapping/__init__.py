"""The mapping: what the suite's tables mean. One declaration, from which everything follows."""

from cdc.mapping.joins import Join, JoinPlan, plan_joins
from cdc.mapping.load import default_mapping, load_mapping, parse_mapping
from cdc.mapping.model import Company, Mapping, Resource, Table, UrlTemplate
from cdc.mapping.names import written

__all__ = [
    "Company",
    "Join",
    "JoinPlan",
    "Mapping",
    "Resource",
    "Table",
    "UrlTemplate",
    "default_mapping",
    "load_mapping",
    "parse_mapping",
    "plan_joins",
    "written",
]
