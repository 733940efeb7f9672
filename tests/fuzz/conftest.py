"""The fuzzer is a few modules that are programs too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
