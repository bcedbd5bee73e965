"""One file an experiment: source, cost, result and command first, then CONFIG."""
