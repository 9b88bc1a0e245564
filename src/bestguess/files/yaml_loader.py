"""PyYAML's safe loader with bounds: what its text takes to build is known before it is built."""

from __future__ import annotations

from typing import Any

import yaml

DEPTH, NODES = 50, 100_000
"""The deepest nesting, and the most values once every alias is written out."""

_PLAIN = (str, int, float, bool, type(None))


class _Loader(yaml.SafeLoader):
    """Refuses keys that stand twice, deep nesting, and aliases that multiply or contain themselves."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEPTH:
            raise ValueError(f"nested more than {DEPTH} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        self._measure(node, {})
        return node

    def _measure(self, node: Any, sizes: dict[int, int | None]) -> int:
        """Return how many values a node is once its aliases are written out, each node measured once."""
        if id(node) in sizes:
            size = sizes[id(node)]
            if size is None:
                raise ValueError("an alias refers to a value that contains it")
            return size
        sizes[id(node)] = None
        inside: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            self._refuse_twice(node)
            inside = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            inside = node.value
        total = 1 + sum(self._measure(one, sizes) for one in inside)
        if total > NODES:
            raise ValueError(f"more than {NODES:,} values once its aliases are written out")
        sizes[id(node)] = total
        return total

    def _refuse_twice(self, node: Any) -> None:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key)
                if name in seen:
                    raise ValueError(f"the key {name!r} occurs twice; line {key.start_mark.line + 1}")
                seen.add(name)


def load(text: str) -> Any:
    """Return the value of a YAML text; an exception of any kind where it is none that we take."""
    loader = _Loader(text)
    try:
        value = loader.get_single_data()
    finally:
        loader.dispose()
    _refuse_others(value)
    return value


def _refuse_others(value: Any) -> None:
    if isinstance(value, dict):
        for key, one in value.items():
            _refuse_others(key)
            _refuse_others(one)
    elif isinstance(value, list):
        for one in value:
            _refuse_others(one)
    elif not isinstance(value, _PLAIN):
        raise ValueError(f"{value!r} is a {type(value).__name__}; put it in quotation marks to make it text")
