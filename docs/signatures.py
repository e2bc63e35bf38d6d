"""Signatures for readers of the API reference: with keywords and defaults in place of the names that stand for them."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator
from typing import Any

import griffe

# The defaults of options that are not None. The types are those in `sentriton.keywords`.
_DEFAULTS = {
    "convert_to_numpy": "True",
    "convert_to_tensor": "False",
    "normalize_embeddings": "False",
    "output_value": '"sentence_embedding"',
}


class Signatures(griffe.Extension):
    """Replaces `**arguments: Unpack[Options]` by the keys of `Options`, and a constant or `setting(…)` by its value."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Change all methods and all settings of the package."""
        for member in (member for cls in _classes(pkg) for member in cls.members.values()):
            if isinstance(member, griffe.Function):
                member.parameters = griffe.Parameters(*_expanded(member, pkg))
            elif isinstance(member, griffe.Attribute):
                member.labels -= {"class-attribute", "instance-attribute"}
                if isinstance(value := member.value, griffe.ExprCall) and str(value.function) == "setting":
                    member.value, words = value.arguments[:2]
                    member.docstring = griffe.Docstring(literal_eval(str(words)), parent=member)


def _classes(module: griffe.Module) -> Iterator[griffe.Class]:
    """The classes of a module and of the modules in it, without imported ones."""
    for each in module.members.values():
        if isinstance(each, griffe.Module):
            yield from _classes(each)
        elif isinstance(each, griffe.Class):
            yield each


def _expanded(function: griffe.Function, package: griffe.Module) -> Iterator[griffe.Parameter]:
    """The parameters of a function for its reader."""
    names = {each.name for each in function.parameters}
    for parameter in function.parameters:
        default, annotation = parameter.default, parameter.annotation
        if isinstance(default, griffe.ExprName) and default.name.isupper():
            parameter.default = package[default.canonical_path.removeprefix(f"{package.name}.")].value
        if parameter.kind is not griffe.ParameterKind.var_keyword:
            yield parameter
        elif isinstance(annotation, griffe.ExprSubscript):
            for key in _keywords(package["keywords"], str(annotation.slice)):
                if key.name not in names:
                    yield key
        else:
            yield parameter


def _keywords(module: griffe.Module, name: str) -> Iterator[griffe.Parameter]:
    """The keys of a `TypedDict` and of its bases, as parameters."""
    for base in map(str, module[name].bases):
        if isinstance(module.members[base], griffe.Class):
            yield from _keywords(module, base)
    for key, each in module[name].members.items():
        if isinstance(each, griffe.Attribute):
            kind, default = griffe.ParameterKind.keyword_only, _DEFAULTS.get(key, "None")
            yield griffe.Parameter(key, annotation=each.annotation, kind=kind, default=default)
