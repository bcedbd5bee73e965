"""`python -m tests.agent.cli.imported [--as-nobody] …`: the program, with all that it imports late imported already.

For tests in which root becomes somebody else: the interpreter's own folder may be closed to that user.
"""

import codecs
import os
import sys

import agent.cli
import agent.cli.calibrate
import agent.cli.config
import agent.cli.support_bundle
from agent.config import Classify, Settings
from agent.config.start import refusals

if __name__ == "__main__":
    for name in ("ascii", "cp437", "idna", "latin-1"):
        codecs.lookup(name)
    list(refusals(Settings(classify=Classify(model="compact"))))
    if sys.argv[1] == "--as-nobody":
        del sys.argv[1]
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    agent.cli.main()
