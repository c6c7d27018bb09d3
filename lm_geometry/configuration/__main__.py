"""Check a config without running it: ``python -m lm_geometry.configuration my.yaml``; all errors, one line each."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lm_geometry.configuration.checking import load_config
from lm_geometry.configuration.reading import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is wrong with the config named on the command line; exit 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m lm_geometry.configuration", description=__doc__)
    parser.add_argument("config", type=Path, help="a config file")
    try:
        load_config(parser.parse_args(arguments).config, base=Path.cwd())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
