"""``python -m trtkit``: the command line, also where the package runs from its source tree."""

from trtkit.start import run

if __name__ == "__main__":
    run()
