"""`python -m iog` is `iog`."""

from iog.cli import main

if __name__ == "__main__":
    main()
