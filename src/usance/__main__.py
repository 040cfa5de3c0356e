"""`python -m usance` is the command line."""

from usance.cli.main import main

main()
