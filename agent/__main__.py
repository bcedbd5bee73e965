"""`python -m agent` is `fer-agent`."""

from agent.cli import main

main()
