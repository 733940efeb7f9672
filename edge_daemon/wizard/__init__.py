"""Setting a box up: what lies around, whether it can be read, and the configuration for it."""
