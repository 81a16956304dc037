"""A mapping that nobody can change, and that can be pickled and copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class ReadOnly(Mapping[_Key, _Value], Generic[_Key, _Value]):
    """A read-only view of a dict, as `types.MappingProxyType` is one, which cannot be pickled.

    Args:
        values: the dict.

    Example:
        >>> metrics = ReadOnly({"loss": 0.5})
        >>> metrics["loss"], metrics == {"loss": 0.5}, metrics
        (0.5, True, {'loss': 0.5})
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[_Key, _Value]) -> None:
        self._values = values

    def __getitem__(self, key: _Key) -> _Value:
        return self._values[key]

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __repr__(self) -> str:
        return repr(self._values)
