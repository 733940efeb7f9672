"""Keep every capture and every run in SQLite, with one writer and any number of readers."""
