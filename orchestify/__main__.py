"""`python -m orchestify`: the command."""

from orchestify.cli import main

if __name__ == "__main__":
    main()
