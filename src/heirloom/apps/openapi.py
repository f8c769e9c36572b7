"""The OpenAPI 3.1 description, made from the table of endpoints and the structs of the wire."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

import heirloom
from heirloom.apps.api import Endpoint
from heirloom.apps.wire import ProblemOut

PROBLEM = "application/problem+json"


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The description of these endpoints, as a JSON object."""
    types = _types(endpoints)
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schema_of = {repr(wanted): schema for wanted, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = re.sub(r":path}", "}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "heirloom",
            "version": getattr(heirloom, "__version__", "0"),
            "summary": "Personalised discovery in marketplaces of one-of-a-kind things.",
            "description": (
                "Any error is application/problem+json with what was wanted and what came. "
                "Times are ms since 1970 UTC, money is in minor units."
            ),
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types(endpoints: Sequence[Endpoint]) -> list[Any]:
    types: dict[str, Any] = {repr(ProblemOut): ProblemOut}
    for endpoint in endpoints:
        for wanted in (endpoint.takes, *endpoint.gives.values()):
            if wanted is not None and not isinstance(wanted, str):
                types.setdefault(repr(wanted), wanted)
    return list(types.values())


def _operation(endpoint: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method} {endpoint.path}").strip("_").lower(),
        "responses": {
            str(status): _response(status, given, schema_of)
            for status, given in endpoint.gives.items()
        },
    }
    if endpoint.scope is not None:
        # OpenAPI 3.1 takes role names here for any scheme; an open door asks for none.
        operation["security"] = [{"key": [endpoint.scope]}]
    operation["responses"]["default"] = _response(500, ProblemOut, schema_of)
    slashes = "Percent-encoded; slashes may stand as they are."
    parameters = [(name, "path", slashes) for name in re.findall(r"{(\w+)", endpoint.path)]
    parameters += [(name, "query", description) for name, description in endpoint.query]
    if parameters:
        operation["parameters"] = [
            {
                "name": name,
                "in": where,
                "required": where == "path",
                "description": description,
                "schema": {"type": "string"},
            }
            for name, where, description in parameters
        ]
    if endpoint.takes is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[repr(endpoint.takes)]}},
        }
    return operation


def _response(status: int, given: Any, schema_of: dict[str, Any]) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    if given is None:
        return {"description": phrase}
    if isinstance(given, str):
        return {"description": phrase, "content": {given: {}}}
    media = PROBLEM if given is ProblemOut else "application/json"
    return {"description": phrase, "content": {media: {"schema": schema_of[repr(given)]}}}
