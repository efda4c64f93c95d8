"""``python -m singletrack`` is the command ``singletrack``; both begin here."""

import sys

from singletrack.interrupts import ignore_interrupts, quit_on_interrupt


def run() -> int:
    """Run the command line of this process; returns its exit code."""
    with quit_on_interrupt():
        from singletrack.cli.main import main
    code = main()
    if code == 130:
        ignore_interrupts()
    return code


if __name__ == "__main__":
    sys.exit(run())
