"""Profile the loaded backend once, without a server: a table on standard output, a timeline in build/profile.

    python workspace/scripts/profile_once.py [--batch 16] [--prompt 128] [--output 32] [--into FOLDER]

Environment variables count as they do for the server: OPS_RMSNORM=cuda python workspace/scripts/profile_once.py
"""

import argparse
import sys
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(WORKSPACE))


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="generations at once")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of each prompt")
    parser.add_argument("--output", type=int, default=32, help="tokens of each answer")
    parser.add_argument("--into", type=Path, default=WORKSPACE.parent / "build" / "profile", metavar="FOLDER")
    asked = parser.parse_args()

    from bench import profile

    print(profile.once(asked.batch, asked.prompt, asked.output, asked.into))
    print(f"timeline: {asked.into / 'trace.json'} (open it in Perfetto)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
