"""Rooms that do not exist, for people who build dashboards: plausible lessons over the real protocol."""
