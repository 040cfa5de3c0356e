"""Write the missing first versions of schema files, and golden records of versions without one.

    python tools/scaffold_schemas.py [--check]

Existing files are never touched: once written they are the truth. A new version of a message is a
new `.avsc` file, written by hand; this tool then adds its golden record. `--check` writes nothing
and exits 1 when something is missing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from golden import golden_files
from usance.messages.catalogue import Catalogue, build

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = ROOT / "src" / "usance" / "messages" / "schemas"
GOLDEN = ROOT / "tests" / "golden"


def schema_files(catalogue: Catalogue) -> dict[Path, bytes]:
    """Return path and content of every schema file that the catalogue implies."""
    return {
        SCHEMAS / f"{entry.fullname}.v{version}.avsc": text.encode()
        for entry in catalogue.types()
        for version, text in entry.versions.items()
    }


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    wanted = schema_files(build())
    wanted |= {GOLDEN / name: data for name, data in golden_files(build()).items()}
    missing = {path: data for path, data in sorted(wanted.items()) if not path.exists()}
    for path, data in missing.items():
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        print(path.relative_to(ROOT))
    print(json.dumps({"missing": len(missing), "known": len(wanted)}), file=sys.stderr)
    return 1 if missing and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
