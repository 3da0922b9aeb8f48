"""``python -m imagewright`` is the command ``imagewright``."""

from imagewright.cli import main

if __name__ == "__main__":
    main()
