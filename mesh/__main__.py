"""``python -m mesh`` is ``mesh``."""

from __future__ import annotations

from mesh.cli.main import main

if __name__ == "__main__":  # A child of the process pool imports this module too.
    main()
