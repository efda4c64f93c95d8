"""``python -m singletrack`` is the command ``singletrack``."""

import sys

from singletrack.cli.main import main

sys.exit(main())
