"""Makes the helper modules of this folder (fakes_prompt, prompt_tiles, tiny_checkpoint) importable by its
tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
