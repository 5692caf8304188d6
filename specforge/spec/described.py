"""Models whose JSON schema takes what fields are from the text below each: read when a schema is made, not on import.

Pydantic's own `use_attribute_docstrings` reads the sources whenever a class is made, which costs every process 0.2 s.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema


class Described(BaseModel):
    """A model with a text below each of its fields."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The usual schema, with the texts as descriptions where there is none yet."""
        found = handler(core_schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, text in _texts(cls).items():
            field = cls.model_fields.get(name)
            shown = properties.get((field.alias or name) if field else name)
            if shown is not None and (field is None or field.description is None):
                shown["description"] = text
        return found


def _texts(model: type[BaseModel]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if part is Described or not issubclass(part, Described):
            continue
        origin = part.__pydantic_generic_metadata__["origin"] or part
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(origin))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                found[field.target.id] = inspect.cleandoc(text.value.value)
    return found
