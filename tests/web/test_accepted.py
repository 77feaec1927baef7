"""What the document allows is accepted by the models; what it forbids is tried by schemathesis."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from pydantic import BaseModel, ValidationError

from cdc.web.call import Route
from cdc.web.routes import ROUTES
from tests.house.files import TOP

# What the document cannot say, or says otherwise: to JSON Schema 1.0 is an integer.
UNSAID = ("without NUL characters", "a year from 1970 to 9998", "a valid integer")

GIVEN = [one for one in ROUTES if any(m and m.model_fields for m in (one.body, one.query))]


@cache
def _document() -> Any:
    return schemathesis.openapi.from_path(TOP / "docs" / "openapi.json")


@pytest.mark.parametrize("route", GIVEN, ids=lambda route: route.name)
def test_what_the_document_allows_is_accepted(route: Route) -> None:
    method, _, path = route.name.partition(" ")
    tried: set[str] = set()

    @seed(1)
    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=_document()[path][method].as_strategy())
    def check(case: Any) -> None:
        if route.body is not None and isinstance(case.body, dict):
            tried.update(case.body)
            _accept(route.body, json.dumps(case.body))
        if route.query is not None and case.query:
            tried.update(case.query)
            _accept(route.query, {name: str(value) for name, value in case.query.items()})

    check()
    known = {name for m in (route.body, route.query) if m is not None for name in m.model_fields}
    assert tried >= known


def _accept(model: type[BaseModel], sent: str | dict[str, str]) -> None:
    try:
        if isinstance(sent, str):
            model.model_validate_json(sent)
        else:
            model.model_validate(sent)
    except ValidationError as error:
        found = error.errors(include_url=False)
        assert not [one for one in found if not one["msg"].endswith(UNSAID)], sent
