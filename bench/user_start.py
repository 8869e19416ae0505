"""The generate.py of a user's own task, copied into it: unpacks the snapshot that lies beside it.

python3 -I generate.py --seed 1 --out FOLDER
"""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path

ARCHIVE = "repository.tar"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int)
    options.add_argument("--out", type=Path, required=True)
    with tarfile.open(Path(__file__).with_name(ARCHIVE)) as tar:
        tar.extractall(options.parse_args().out, filter="data")


if __name__ == "__main__":
    main()
