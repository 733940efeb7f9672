"""Codecs turn bytes of one format into a `RawTable`; they know nothing of profiles."""
