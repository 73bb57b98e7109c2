"""Base class of the configuration's sections, and their number types."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Band = Annotated[StrictInt, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveInt = Annotated[StrictInt, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


_LARGEST_INT, _LARGEST_FLOAT = 2**31 - 1, 1e30
_LARGEST = {"seed": 2**63 - 1, "max_pixels": 2**53, "workers": 1024, "threads": 1024}  # by setting


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any, info: Any) -> Any:
        """Refuse numbers that no computation takes."""
        most = _LARGEST_FLOAT if isinstance(value, float) else _LARGEST.get(info.field_name or "", _LARGEST_INT)
        if isinstance(value, int | float) and abs(value) > most:
            raise ValueError(f"must be {most:,} at most")
        return value
