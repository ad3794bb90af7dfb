"""Ensemble analyses: how an observation corrects the members of an ensemble; one method a file."""
