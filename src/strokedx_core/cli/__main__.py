"""``python -m strokedx_core.cli`` is the command ``strokedx``."""

from strokedx_core.cli import main

if __name__ == "__main__":
    main()
