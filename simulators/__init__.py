"""Simulators: pure models that may be run again; one model a file."""
