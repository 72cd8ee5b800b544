"""The command line, called as ``python -m skxmc``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="skxmc")
