"""``python -m symgnn``: the same as the ``symgnn`` command."""

from symgnn.cli import main

main()
