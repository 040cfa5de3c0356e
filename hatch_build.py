"""Wheels carry the compiled codec where a C compiler is at hand; without one they are pure Python."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "tools"))

import build_native


class NativeHook(BuildHookInterface):  # type: ignore[misc]
    """Adds the extension to a wheel. An editable install finds it in the tree (`make setup`)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what the wheel then is: of one platform and one Python."""
        if version == "editable":
            return
        self.made = tempfile.TemporaryDirectory()
        try:
            built = build_native.compile_to(Path(self.made.name))
        except build_native.CannotBuild as error:
            self.app.display_warning(f"No compiled codec: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"][str(built)] = f"usance/{built.name}"

    def finalize(self, version: str, _data: dict[str, Any], _path: str) -> None:
        """Leave nothing behind."""
        if version != "editable":
            self.made.cleanup()
