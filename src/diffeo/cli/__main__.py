"""``python -m diffeo.cli``, where the command itself is not on the path."""

from diffeo.cli.app import main

main()
