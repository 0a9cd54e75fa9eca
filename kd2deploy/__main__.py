"""`python -m kd2deploy`."""

from kd2deploy.cli import main

main()
