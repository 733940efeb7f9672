"""Train a bundle from sample-level values alone; needs the ``train`` extra."""
