"""Readings → one honest summary of the room."""
