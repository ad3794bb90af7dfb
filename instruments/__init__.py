"""Instruments: one device protocol a file; each measures at most once a trial."""
