"""Signed updates of models, profiles, intervals, rules and settings (docs/updates.md)."""
