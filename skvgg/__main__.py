"""``python -m skvgg``, the same as the command ``skvgg``."""

import sys

from skvgg._command_line import main

if __name__ == "__main__":
    sys.exit(main())
