"""``python -m pyterrier_saesplade.cli``, as ``torchrun`` calls it."""

from pyterrier_saesplade.cli import main

if __name__ == "__main__":
    main()
