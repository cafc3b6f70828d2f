"""YAML that means what it looks like.

YAML 1.1, which PyYAML reads, turns ``010`` into 8, ``1:2`` into 62, ``no`` into false and a date
into an object, and keeps the last of two equal keys. Here scalars are those of YAML 1.2's core
schema with decimal numbers alone; whatever else looks like one stays the text it is.
"""

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode

_INTEGER = r"[-+]?(?:0|[1-9][0-9]*)"
_FRACTION = r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_SPECIAL = r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_SCALARS = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (_INTEGER, "-+0123456789"),
    "float": (f"{_FRACTION}|{_SPECIAL}", "-+.0123456789"),
    "merge": (r"<<", "<"),
}
"""by tag: what a plain scalar looks like, and its first characters"""


def read_yaml(text: str | bytes) -> Any:
    """Return one YAML document: mappings as dicts, sequences as lists.

    Raises:
        yaml.YAMLError: it is none, has a key twice, or a value of any other type.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  # PyYAML's own interface
    yaml_constructors = {None: SafeConstructor.construct_undefined}  # noqa: RUF012

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        # Here, since merging (<<) puts pairs into the node that nobody wrote in it.
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: dict[str, Node] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                continue
            if (first := seen.get(key.value)) is not None:
                raise ConstructorError(
                    None,
                    None,
                    f"{key.value} is given twice, in line {first.start_mark.line + 1} and in line "
                    f"{key.start_mark.line + 1}; one of them has to go",
                )
            seen[key.value] = key
        return node


def _number(of: type, pattern: str) -> Any:
    def construct(loader: _Loader, node: ScalarNode) -> Any:
        text = str(loader.construct_scalar(node))
        try:
            if not re.fullmatch(pattern, text):  # asked for by a tag: !!int 010
                raise ValueError
            return of(text.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:  # int() also refuses thousands of digits
            problem = f"{text[:40]!r} is no decimal number"
            raise ConstructorError(None, None, problem, node.start_mark) from None

    return construct


def _text(loader: _Loader, node: ScalarNode) -> str:
    """JSON, which is YAML too, escapes characters beyond the first 65,536 as two surrogates."""
    text = str(loader.construct_scalar(node))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}",
        re.compile(f"(?:{_pattern})$"),
        [*_first, ""] if _name == "null" else list(_first),
    )
for _name, _construct in {
    "null": SafeConstructor.construct_yaml_null,
    "bool": SafeConstructor.construct_yaml_bool,
    "str": _text,
    "int": _number(int, _INTEGER),
    "float": _number(float, f"{_FRACTION}|{_SPECIAL}"),
    "seq": lambda loader, node: loader.construct_sequence(node, deep=True),
    "map": lambda loader, node: loader.construct_mapping(node, deep=True),
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _construct)
