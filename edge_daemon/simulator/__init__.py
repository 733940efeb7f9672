"""Simulated analyzers: cells from physics, written as the files an instrument would export.

Everything made here carries a permanent mark (docs/decisions/0005) and is never clinical data.
"""
