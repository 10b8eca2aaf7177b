"""The CustomResourceDefinitions of our kinds, written from the models."""

from __future__ import annotations

from dataclasses import replace

from smeagol.api.documents import Json
from smeagol.api.kinds import Column, Kind
from smeagol.api.meta import GROUP, VERSION
from smeagol.api.schema import Schema, schema_of

__all__ = ["crd"]

_ENVELOPE = {
    "apiVersion": Schema(type="string", description=f"{GROUP}/{VERSION}"),
    "kind": Schema(type="string", description="The name of this kind."),
    "metadata": Schema(type="object"),
}


def crd(kind: Kind) -> dict[str, Json]:
    """The definition that makes an API server serve `kind`."""
    schema = schema_of(kind.model)
    versions: dict[str, Json] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
        "schema": {
            "openAPIV3Schema": replace(schema, properties={**_ENVELOPE, **schema.properties}).to_json(),
        },
        "subresources": {"status": {}},
    }
    names: dict[str, Json] = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.name.lower(),
        "shortNames": list(kind.short_names),
        "categories": ["smi"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {key: entry for key, entry in names.items() if entry},
            "versions": [versions],
        },
    }


def _column(column: Column) -> Json:
    entries: dict[str, Json] = {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "jsonPath": column.path,
        "priority": 1 if column.wide else 0,
    }
    return {key: entry for key, entry in entries.items() if entry != 0}
