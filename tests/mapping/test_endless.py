"""A mapping file that is made to keep its reader busy."""

from __future__ import annotations

import pytest

from cdc.errors import MappingError
from cdc.mapping import parse_mapping, plan_joins


def chain(length: int) -> str:
    """Resources each below the two before it, whose addresses begin with either's."""
    text = (
        'base_url = "https://suite.example/v1/"\n[company]\ntable = "company"\nkey = "id"\n'
        'url = "companies/{company}/"\n'
    )
    above = ["company", "company"]
    for name in (f"r{number}" for number in range(length)):
        one, other = above[-1], above[-2]
        parents = ", ".join(f'{parent} = "{parent}_id"' for parent in dict.fromkeys((one, other)))
        text += (
            f'[resources.{name}]\ntable = "{name}"\nkey = "id"\nparents = {{ {parents} }}\n'
            f'url = ["{{{one}}}a/{{{name}}}/", "{{{other}}}b/{{{name}}}/"]\n'
            f'event = "{name}_changed"\ndata = ["{name}"]\n'
        )
        above.append(name)
    return text


def test_a_file_cannot_keep_us_busy_without_end() -> None:
    """As many roads as there are ways to begin an address: twice as many with each resource."""
    long = parse_mapping(chain(150), "long.toml")
    with pytest.raises(MappingError, match="more than 100 references"):
        plan_joins(long, long.captured[-1])
    with pytest.raises(MappingError, match="resources: 1500 are mapped; expected at most 200"):
        parse_mapping(chain(1500), "longer.toml")
