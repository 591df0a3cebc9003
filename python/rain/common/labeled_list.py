"""A list whose items can also be found by label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, overload

from .errors import LabelException, RainException

T = TypeVar("T")


class LabeledList(list[T]):
    """A list, indexed from zero, whose items may have labels: ``outputs[0]`` and ``outputs["log"]``.

    Slices and sums are labelled lists again. A label belongs to one item at most; in a sum, an item of the right
    operand whose label is taken loses it.
    """

    __slots__ = ("_labels",)

    def __init__(
        self,
        values: Iterable[T] = (),
        labels: Iterable[str | None] | None = None,
        *,
        pairs: Iterable[tuple[str | None, T]] | None = None,
    ) -> None:
        if pairs is not None:
            listed = list(pairs)
            labels = [label for label, _ in listed]
            values = [value for _, value in listed]
        super().__init__(values)
        self._labels: list[str | None] = [None] * len(self) if labels is None else list(labels)
        if len(self._labels) != len(self):
            raise RainException(f"{len(self)} values, but {len(self._labels)} labels")
        used = [label for label in self._labels if label is not None]
        if len(set(used)) != len(used):
            raise LabelException(f"Label {_first_repeated(used)!r} is used twice")

    @property
    def labels(self) -> tuple[str | None, ...]:
        """The label of each item, or None."""
        return tuple(self._labels)

    def items(self) -> Iterator[tuple[str | None, T]]:
        """Pairs of label and value."""
        return zip(self._labels, self)

    def get_label(self, index: int) -> str | None:
        """The label of the item at an index."""
        return self._labels[index]

    def index_of(self, label: str) -> int:
        """The index of the item with a label; KeyError if there is none."""
        try:
            return self._labels.index(label)
        except ValueError:
            known = ", ".join(repr(known) for known in self._labels if known is not None) or "there are no labels"
            raise LabelException(f"No item is labelled {label!r} ({known})") from None

    def append(self, value: T, label: str | None = None) -> None:
        """Add an item at the end."""
        self.insert(len(self), value, label)

    def insert(self, index: Any, value: T, label: str | None = None) -> None:
        """Put an item before the one at an index."""
        if label is not None and label in self._labels:
            raise LabelException(f"Label {label!r} is used twice")
        super().insert(index, value)
        self._labels.insert(index, label)

    def extend(self, values: Iterable[T]) -> None:
        """Add items at the end; those of a labelled list keep their labels where these are free."""
        total = self + list(values) if not isinstance(values, LabeledList) else self + values
        self._labels = total._labels
        super().__init__(total)

    def pop(self, index: Any = -1) -> T:
        """Remove and return an item."""
        value = super().pop(index)
        self._labels.pop(index)
        return value

    def remove(self, value: T) -> None:
        """Remove the first item that equals a value."""
        del self[self.index(value)]

    def clear(self) -> None:
        """Remove all items."""
        del self[:]

    def reverse(self) -> None:
        """Reverse the order of the items; each keeps its label."""
        super().reverse()
        self._labels.reverse()

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        """Sort the items; each keeps its label."""

        def position_key(position: int) -> Any:
            return self[position] if key is None else key(self[position])

        order = sorted(range(len(self)), key=position_key, reverse=reverse)
        labels = [self._labels[i] for i in order]
        values = [self[i] for i in order]
        super().__init__(values)
        self._labels = labels

    def copy(self) -> LabeledList[T]:
        """A shallow copy."""
        return self[:]

    @overload  # type: ignore[override]
    def __getitem__(self, key: int | str) -> T: ...

    @overload
    def __getitem__(self, key: slice) -> LabeledList[T]: ...

    def __getitem__(self, key: int | str | slice) -> T | LabeledList[T]:
        if isinstance(key, str):
            return super().__getitem__(self.index_of(key))
        if isinstance(key, slice):
            return LabeledList(super().__getitem__(key), self._labels[key])
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, slice):
            raise TypeError("Items of a labelled list are replaced one by one")
        super().__setitem__(self.index_of(key) if isinstance(key, str) else key, value)

    def __delitem__(self, key: Any) -> None:
        index = self.index_of(key) if isinstance(key, str) else key
        super().__delitem__(index)
        del self._labels[index]

    def __add__(self, other: Iterable[Any]) -> LabeledList[Any]:
        if not isinstance(other, list):
            return NotImplemented
        labels = list(self._labels)
        for label in other._labels if isinstance(other, LabeledList) else [None] * len(other):
            labels.append(None if label in labels else label)
        return LabeledList([*self, *other], labels)

    def __iadd__(self, other: Iterable[T]) -> LabeledList[T]:  # type: ignore[override,misc]
        self.extend(other)
        return self

    def __mul__(self, count: Any) -> LabeledList[T]:
        raise TypeError("A labelled list cannot be repeated")

    __imul__ = __rmul__ = __mul__

    def __reduce__(self) -> tuple[Any, ...]:
        return LabeledList, (list(self), list(self._labels))

    def __repr__(self) -> str:
        shown = (repr(value) if label is None else f"{label}={value!r}" for label, value in self.items())
        return f"LabeledList([{', '.join(shown)}])"


def _first_repeated(labels: list[str]) -> str:
    return next(label for index, label in enumerate(labels) if label in labels[:index])
