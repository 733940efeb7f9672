"""Classify cells: verified model bundles, two int8 graphs, counts with their uncertainty."""
