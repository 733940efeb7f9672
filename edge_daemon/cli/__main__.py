"""``python -m edge_daemon.cli``: the command without an installed script."""

from edge_daemon.cli import main

if __name__ == "__main__":
    main()
