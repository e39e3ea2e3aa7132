"""Parity by hand: each implementation of each operation beside float64, then the model's tokens with and without them.

    python workspace/scripts/parity.py [--ops cuda,torch] [--switch auto] [--no-model]

Exit status 0: everything that was looked at is right. 1: something is wrong or does not build. 2: nothing is wrong, but
something that was named in --ops or --switch could not be tried here. The judge's own parity comes before every
benchmark all the same.
"""

import argparse
import sys
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(WORKSPACE))


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="", help="implementations, with commas between; all where none is given")
    parser.add_argument("--switch", default="auto", help="what the model is asked with: auto, or an implementation")
    parser.add_argument("--no-model", action="store_true", help="operations only")
    asked = parser.parse_args()

    from bench import ops, tokens

    only = [name for name in asked.ops.split(",") if name]
    rows = ops.compare(only)
    if not asked.no_model:
        rows += tokens.compare(asked.switch)
    for row in rows:
        print(f"{row.op:10} {row.name:8} {row.state:9} {row.detail}")
    if not rows:
        print(f"there is no implementation {asked.ops}", file=sys.stderr)
        return 1
    if any(row.state in ("WRONG", "FAILED") for row in rows):
        return 1
    named = {*only, asked.switch}
    return 2 if any(row.state == "NOT TRIED" and row.name in named for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
