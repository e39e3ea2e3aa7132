"""A worker of the tests: loads a text, then answers calls with the text's function. Loaded by forkserver.py only."""

import json
import os


def main(arguments: tuple[str, ...], descriptors: tuple[int, ...]) -> None:
    commands, answers = descriptors
    names = {"answers": answers, "commands": commands}
    exec(json.loads(arguments[0])["text"], names)
    os.write(answers, b"R")
    while command := os.read(commands, 1):
        names["call"](command[0])
        os.write(answers, b"D")
