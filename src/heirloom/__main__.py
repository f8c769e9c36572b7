"""`python -m heirloom` is the command `heirloom`."""

from heirloom.apps.main import main

if __name__ == "__main__":
    main()
