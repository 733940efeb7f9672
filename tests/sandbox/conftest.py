"""The attacks are a module that workers import by name too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
