"""``python -m pg2lib``."""

from __future__ import annotations

import sys

from pg2lib.cli import main

sys.exit(main())
