"""The command line as `python -m looksharp`, for where the command itself is not on the path."""

import sys

from looksharp.cli import main

sys.exit(main())
