"""`python -m service` does the same as `belfry serve`."""

import argparse
import sys

from service.cli.serve import main
from service.runtime.settings import Role

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m service")
    parser.add_argument("--role", choices=list(Role), type=Role, default=Role.ALL)
    sys.exit(main(parser.parse_args().role))
