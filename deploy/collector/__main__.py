"""`python -m deploy.collector` is `fer-collector`."""

from deploy.collector.cli import main

main()
