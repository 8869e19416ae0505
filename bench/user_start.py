"""The generate.py of a user's own task, copied into it: unpacks the snapshot that lies beside it.

python3 -I generate.py --seed 1 --out FOLDER
"""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path

ARCHIVE = "repository.tar"


def as_it_is(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """What tarfile's own filter lets pass, with links as they are: newer ones rewrite what these lead to, and
    patches of such a link would not apply."""
    return tarfile.data_filter(member, folder).replace(linkname=member.linkname, deep=False)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int)
    options.add_argument("--out", type=Path, required=True)
    with tarfile.open(Path(__file__).with_name(ARCHIVE)) as tar:
        tar.extractall(options.parse_args().out, filter=as_it_is)


if __name__ == "__main__":
    main()
