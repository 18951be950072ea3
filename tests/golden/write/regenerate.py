"""Write the golden files of the write stage again: `python tests/golden/write/regenerate.py` from the
repository root.

Golden files pin that results of earlier versions stay readable. Regenerate one only when its format version
changes, and keep the old file beside it under its version's name.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "unit" / "write"))


def main() -> None:
    from record_world import golden_run

    golden_run(HERE)


if __name__ == "__main__":
    main()
