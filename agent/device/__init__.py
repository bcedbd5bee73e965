"""This machine: clock, watchdog, temperature, disk."""
