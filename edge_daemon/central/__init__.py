"""The central server: receives results of many boxes, each of which sees only its own clinic."""
