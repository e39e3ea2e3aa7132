"""Whether a Python file parses and defines a function, in a short-lived process of its own. Standard library only.

Started by file path, never imported: the parser's stack has an end, and hostile source must not find it in the judge.

    parse.py FILE NAME

Exit status 0: it does. 1: it does not, and the last line printed says why.
"""

import ast
import sys


def main() -> None:
    """Parse, look, say."""
    path, name = sys.argv[1:]
    with open(path, "rb") as file:
        content = file.read()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        sys.exit(f"{path} does not parse: {error}")
    if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
        sys.exit(f"{path} defines no function {name!r}")


if __name__ == "__main__":
    main()
