"""`python -m lsh_native` is the command `lsh-native`."""

import sys

from lsh_native.cli.main import main

sys.exit(main())
