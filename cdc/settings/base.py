"""How settings are read: what came from where, and that nothing is taken unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

from cdc.settings.kinds import LeftOut

Source = Literal["default", "file", "environment"]


class SourcedSettings(BaseModel):
    """Settings that know their sources; ``load`` fills them in."""

    model_config = ConfigDict(
        extra="forbid",
        validate_default=True,
        frozen=True,
        allow_inf_nan=False,
        # An input may hold a password, and pydantic's own message is not for people anyway.
        hide_input_in_errors=True,
    )

    # Which keys the file and the environment gave, and which file that was; set by load.
    _sources: dict[str, Source] = PrivateAttr(default_factory=dict)
    _config_path: Path | None = PrivateAttr(default=None)
    _left_out: tuple[LeftOut, ...] = PrivateAttr(default=())

    @property
    def sources(self) -> dict[str, Source]:
        """Where the value of each key came from."""
        return {key: self._sources.get(key, "default") for key in type(self).model_fields}

    @property
    def config_path(self) -> Path | None:
        """The file that was read, None without one."""
        return self._config_path

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What the environment has that looks like a setting and is not one."""
        return self._left_out
