"""`python -m transprune.cli`, the same as `transprune`."""

from transprune.cli import main

if __name__ == "__main__":
    main()
