"""From a changed row to its company: which parents are read, in which order, and what is kept.

Of one captured resource this makes the plan that capture renders as SQL and translate reads back:
one left join per ancestor, on the first path to it that is not empty.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from cdc.errors import MappingError
from cdc.mapping.load import ancestors
from cdc.mapping.model import COMPANY, Mapping, Resource
from cdc.mapping.row_keys import layout_field
from cdc.model import Layout

MOST_APART = 100
"""References of one row that go by a path of their own: each is kept in every row of the queue, and
where each address begins with one of two others, they double with each step."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Columns of the changed row (``resource`` is then its own name) or of a joined ancestor (then
    the join's name) that hold the key of a row."""

    resource: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """An ancestor whose row must be read, found by the first of ``paths`` that is not null.

    name: of the resource, or a path to it (``question.project``): the project of the question,
          where that need not be the project of the changed row.
    """

    name: str
    paths: tuple[Reference, ...]

    @property
    def resource(self) -> str:
        return leaf(self.name)


def leaf(path: str) -> str:
    """The resource that a path leads to."""
    return path.rsplit(".", 1)[-1]


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """The plan for one captured resource.

    joins:  ancestors to read, each after those that its paths start from.
    values: name of each reference (Layout.fields without ``base``, and without the columns) to the
            columns it is taken from: the first that are not null.
    base:   column of the company's row that holds its base URL, or None.
    """

    resource: Resource
    layout: Layout
    joins: tuple[Join, ...]
    values: dict[str, tuple[Reference, ...]]
    base: str | None


def paths_to_company(mapping: Mapping, resource: Resource) -> Iterator[tuple[Reference, ...]]:
    """Each way from a resource to the company: the columns that lead from one row to the next."""
    for parent, columns in resource.parents.items():
        step = Reference(resource.name, columns)
        if parent == COMPANY:
            yield (step,)
        else:
            for rest in paths_to_company(mapping, mapping.resources[parent]):
                yield (step, *rest)


@lru_cache(maxsize=1024)
def _layout(event: str, fields: tuple[str, ...]) -> Layout:
    # Derived from what it means, so that every installation and every rendered file agree.
    # cdc.layout has a primary key: two layouts of one number cannot be installed silently.
    number = zlib.crc32(json.dumps([event, fields]).encode()) & 0x7FFFFFFF
    return Layout(number, event, fields)


def plan_joins(mapping: Mapping, resource: Resource) -> JoinPlan:
    """The plan for a resource that has an event. Raises MappingError."""
    if resource.event is None:
        raise ValueError(f"{resource.name} has no event")
    order = _nearest_first(mapping, resource)
    paths = {
        name: tuple(
            Reference(other, mapping.resources[other].parents[name])
            for other in order[: order.index(name)]
            if name in mapping.resources[other].parents
        )
        for name in order[1:]
    }
    wanted, apart = _wanted(mapping, resource, paths)
    values = {COMPANY: paths[COMPANY]}
    values.update((name, paths[name]) for name in wanted)
    values.update((path, (reference,)) for path, reference in apart.items())
    values[resource.name] = (Reference(resource.name, resource.key),)
    base = mapping.company.base_url_column
    read_from = {one.resource for references in values.values() for one in references}
    joins = []
    # Nearest last: an ancestor that is read makes those necessary that its paths start from.
    for path in reversed(apart):
        if path in read_from:
            joins.append(Join(path, (apart[path],)))
            read_from.add(apart[path].resource)
    for name in reversed(order[1:]):
        if name in read_from or (name == COMPANY and base is not None):
            joins.append(Join(name, paths[name]))
            read_from.update(path.resource for path in paths[name])
    return JoinPlan(
        resource=resource,
        layout=_layout(
            resource.event,
            ("base", *(layout_field(path, mapping.key_of(leaf(path))) for path in values)),
        ),
        joins=tuple(reversed(joins)),
        values=values,
        base=base,
    )


def _nearest_first(mapping: Mapping, resource: Resource) -> list[str]:
    """The resource and its ancestors, each after all those it can be reached from."""
    reached = {resource.name, *ancestors(resource.name, mapping.resources)}
    children: dict[str, int] = dict.fromkeys(reached, 0)
    for name in reached - {COMPANY}:
        for parent in mapping.resources[name].parents:
            children[parent] += 1
    order: list[str] = []
    ready = [resource.name]
    while ready:
        name = ready.pop(0)
        order.append(name)
        if name == COMPANY:
            continue
        for parent in mapping.resources[name].parents:
            children[parent] -= 1
            if not children[parent]:
                ready.append(parent)
    return order


def _wanted(
    mapping: Mapping, resource: Resource, paths: dict[str, tuple[Reference, ...]]
) -> tuple[list[str], dict[str, Reference]]:
    """References the payload needs, apart from the company and the row's own key.

    An ancestor's address is made from its own parents: a question's project need not be the
    candidate's. Where the first path to the project is another, that makes a reference of its own,
    ``question.project``, and so on upwards (``question.project.department``): the second answer
    holds these, each after the one it starts from. The company is the same for all.
    """
    wanted: dict[str, None] = {}
    apart: dict[str, Reference] = {}

    def others(name: str) -> list[str]:
        begins = dict.fromkeys(template.parent for template in mapping.urls_of(name))
        return [parent for parent in begins if parent is not None and parent != COMPANY]

    def visit(name: str) -> None:
        if name == COMPANY or name in wanted:
            return
        if name != resource.name:
            wanted[name] = None
        for other in others(name):
            visit(other)
            columns = mapping.resources[name].parents.get(other)
            if (
                name != resource.name
                and columns is not None
                and paths[other][0] != Reference(name, columns)
            ):
                visit_apart(f"{name}.{other}", other, Reference(name, columns))

    def visit_apart(path: str, name: str, reference: Reference) -> None:
        if path in apart:
            return
        if len(apart) == MOST_APART:
            raise MappingError(
                f"resources.{resource.name}: its addresses need more than {MOST_APART} references",
                "Addresses of its ancestors begin with those of too many others.",
            )
        apart[path] = reference
        for other in others(name):
            upwards = mapping.resources[name].parents.get(other)
            if upwards is not None:
                visit_apart(f"{path}.{other}", other, Reference(path, upwards))

    for member in resource.data:
        if member != resource.name:
            visit(member)
    visit(resource.name)
    return list(wanted), apart
