"""`python -m tests.bench.profiled FILE`: the service, profiled between SIGUSR1 and SIGUSR2."""

import cProfile
import signal
import sys

from service.cli.serve import main

if __name__ == "__main__":
    profile = cProfile.Profile()
    signal.signal(signal.SIGUSR1, lambda *_: profile.enable())
    signal.signal(signal.SIGUSR2, lambda *_: profile.disable())
    try:
        code = main()
    finally:
        profile.dump_stats(sys.argv[1])
    sys.exit(code)
