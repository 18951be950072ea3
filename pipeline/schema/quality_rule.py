"""Rules that say which stored values of a quality mask hide the ground.

A rule travels as text with its scene (`QualityMask.rule`), and is read where pixels are:

    values:3,8,9,10;fill:0   these values hide the ground; where 0 stands, there is no imagery
    bits:1,2,3,4;fill:0      one of these bits is enough, bit 0 being the lowest; bit 0: no imagery
    above:50                 every value above this one hides the ground

What a rule does not name shows the ground. A value that is no number hides it, because nobody knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

RuleKind = Literal["values", "bits", "above"]

MAX_BIT = 63


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityRule:
    """What the values of one band mean."""

    kind: RuleKind
    numbers: tuple[float, ...]
    """Values, or bits, that hide the ground; of `above` the one limit."""
    fill: tuple[float, ...] = ()
    """Values, or bits, of pixels without imagery. They count before `numbers`."""

    def __post_init__(self) -> None:
        if not self.numbers or not all(math.isfinite(number) for number in (*self.numbers, *self.fill)):
            raise ValueError(f"a rule needs finite numbers, got {self.numbers} and {self.fill}")
        if self.kind == "above" and (len(self.numbers) > 1 or self.fill):
            raise ValueError(f"a rule `above` has one limit and no fill, got {self.numbers} and {self.fill}")
        bits = (*self.numbers, *self.fill) if self.kind == "bits" else ()
        if any(bit != int(bit) or not 0 <= bit <= MAX_BIT for bit in bits):
            raise ValueError(f"bits are whole numbers from 0 to {MAX_BIT}, got {bits}")

    @classmethod
    def of(cls, text: str) -> QualityRule:
        """Read a rule as it is stored. Raises ValueError for other text."""
        rule, _, fill = text.partition(";fill:")
        kind, _, numbers = rule.partition(":")
        if kind not in ("values", "bits", "above"):
            raise ValueError(f"a rule begins with values:, bits: or above:, got {text!r}")
        return cls(
            kind=cast(RuleKind, kind),
            numbers=tuple(float(number) for number in numbers.split(",")),
            fill=tuple(float(number) for number in fill.split(",")) if fill else (),
        )

    def __str__(self) -> str:
        """Write the rule as it is stored."""
        fill = f";fill:{_listed(self.fill)}" if self.fill else ""
        return f"{self.kind}:{_listed(self.numbers)}{fill}"

    def fits(self, dtype: str) -> bool:
        """Whether the rule can be asked of such values: only whole numbers have bits."""
        return self.kind != "bits" or np.issubdtype(np.dtype(dtype), np.integer)

    def hides(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Say which pixels are imagery that does not show the ground; same shape as `values`."""
        if self.kind == "above":
            return np.asarray(~(values <= self.numbers[0]))
        found = self._has(values, self.numbers) | ~np.isfinite(values)
        return np.asarray(found & ~self.lacks(values))

    def lacks(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Say which pixels have no imagery; same shape as `values`."""
        return self._has(values, self.fill) if self.fill else np.zeros(values.shape, dtype=np.bool_)

    def _has(self, values: NDArray[Any], numbers: tuple[float, ...]) -> NDArray[np.bool_]:
        if self.kind == "values":
            return np.isin(values, np.array(numbers))
        wanted = sum(1 << int(bit) for bit in set(numbers))
        plain = values.view(f"u{values.dtype.itemsize}")  # signed values keep their bits
        return np.asarray(plain & plain.dtype.type(wanted % 2 ** (8 * plain.itemsize)) > 0)


def _listed(numbers: tuple[float, ...]) -> str:
    return ",".join(repr(number) if number != int(number) else str(int(number)) for number in numbers)
