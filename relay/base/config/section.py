"""What every table of the settings model is made of: the kinds of numbers, a key with its sentence, the table."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Bytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def key(default: Any, says: str) -> Any:
    """A config key: its default and the sentence that explains it."""
    return Field(default=default, description=says)


class Section(BaseModel):
    """A table of the file. Unknown keys are mistakes, and so are numbers without an end."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
