"""All benchmarks of this folder, one after the other: ``make bench``.

Each is a script of its own, with options; run in a process of its own, none weighs on the next.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    for script in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"$ python benchmarks/{script.name}", flush=True)
        subprocess.run([sys.executable, str(script)], check=True)
        print(flush=True)


if __name__ == "__main__":
    main()
