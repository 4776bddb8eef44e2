"""`python -m service`: the same as `belfry serve`."""

import argparse
import sys

from service.cli.serve import main
from service.runtime.settings import Role

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m service")
    arguments.add_argument("--role", choices=list(Role), type=Role, default=Role.ALL)
    sys.exit(main(arguments.parse_args().role))
