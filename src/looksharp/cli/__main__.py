"""`python -m looksharp.cli`."""

import sys

from looksharp.cli import main

sys.exit(main())
