"""YAML that means what it looks like.

YAML 1.1, which PyYAML reads, turns ``010`` into 8, ``1:2`` into 62, ``no`` into false and a date
into an object, and keeps the last of two equal keys. Here scalars are those of YAML 1.2's core
schema with decimal numbers alone; whatever else looks like one stays the text it is.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode

_FRACTION = r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_SPECIAL = r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_SCALARS = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
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

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._key_lines: dict[int, list[int]] = {}
        """the lines of a mapping's keys, by its id; an alias has its node elsewhere"""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        line = self.peek_event().start_mark.line + 1
        node: Node | None = super().compose_node(parent, index)
        if isinstance(parent, MappingNode) and index is None:
            self._key_lines.setdefault(id(parent), []).append(line)
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        # Keys are checked before PyYAML merges (<<) other mappings into the node.
        node: MappingNode = super().compose_mapping_node(anchor)
        first_lines: dict[str, int] = {}
        lines = self._key_lines.pop(id(node), [])
        for (key, _), line in zip(node.value, lines, strict=True):
            if not isinstance(key, ScalarNode) or key.tag not in (_tag("str"), _tag("merge")):
                spelled = key.value if isinstance(key, ScalarNode) else "that begins there"
                problem = f"in line {line} the key {spelled} is no text; put it in quotes"
                raise ConstructorError(None, None, problem)
            text = _joined(key.value)
            if text in first_lines:
                problem = (
                    f"{text} is given twice, in line {first_lines[text]} and in line {line}; one "
                    "of them has to go"
                )
                raise ConstructorError(None, None, problem)
            first_lines[text] = line
        return node


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


def _plain(name: str, value_of: Callable[[str], Any]) -> Any:
    """Return what makes a value of a scalar, which a tag (``!!int``) may claim of any text."""

    def construct(loader: _Loader, node: ScalarNode) -> Any:
        text = str(loader.construct_scalar(node))
        try:
            if not re.fullmatch(_SCALARS[name][0], text):
                raise ValueError
            return value_of(text)
        except ValueError:  # int() also refuses thousands of digits
            problem = f"{text[:40]!r} is no {_KINDS[name]}"
            raise ConstructorError(None, None, problem, node.start_mark) from None

    return construct


_KINDS = {
    "null": "null",
    "bool": "true or false",
    "int": "decimal number",
    "float": "decimal number",
}


def _joined(text: str) -> str:
    """Join surrogates: JSON, which is YAML too, escapes characters beyond U+FFFF as two of them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(
        _tag(_name),
        re.compile(f"(?:{_pattern})$"),
        [*_first, ""] if _name == "null" else list(_first),
    )
for _name, _construct in {
    "null": _plain("null", lambda text: None),
    "bool": _plain("bool", lambda text: text.lower() == "true"),
    "int": _plain("int", int),
    "float": _plain(
        "float", lambda t: float(t.lower().replace(".inf", "inf").replace(".nan", "nan"))
    ),
    "str": lambda loader, node: _joined(str(loader.construct_scalar(node))),
    "seq": lambda loader, node: loader.construct_sequence(node, deep=True),
    "map": lambda loader, node: loader.construct_mapping(node, deep=True),
}.items():
    _Loader.add_constructor(_tag(_name), _construct)
