"""`python -m autosft` is the shell command."""

from autosft.cli import main

if __name__ == "__main__":
    main()
