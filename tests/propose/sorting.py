"""A real harness task for tests whose numbers are no times: a C program that counts what a sort does, and verifies it.

So a candidate's gain is the same on any machine, however busy, and a campaign on it can be replayed to the byte.
"""

from __future__ import annotations

from pathlib import Path

TASK = "my/sorting"
TOML = """
name = "my/sorting"
kind = "command"
title = "Sorting with few comparisons"
hardware = "cpu"
workspace = "workspace"
mutable = ["sort.c", "tables/*"]
prepare = ["gcc", "-O1", "bench.c", "sort.c", "-o", "bench"]
command = ["./bench", "{N}"]
expect = { wrong = 0 }
timeout_s = 60
objective = { metric = "comparisons", direction = "minimize" }

[[guardrails]]
metric = "moves"
limit = 0.5

[metrics]
comparisons = { unit = "1", direction = "minimize" }
moves = { unit = "1", direction = "minimize" }

[tunables]
GAP = { values = [1, 2, 3], default = 1, doc = "distance of what is compared" }

[[workloads]]
name = "hundred"
axes = { N = 100 }
"""
BENCH = """// The harness: counts what sort() does, and says whether it is sorted.
#include <stdio.h>
#include <stdlib.h>

void sort(int *x, int n);

static long comparisons = 1, moves = 1;

int less(int a, int b) { comparisons++; return a < b; }
void put(int *x, int at, int value) { moves++; x[at] = value; }

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 0, wrong = 0, *x = malloc(n * sizeof *x);
    unsigned state = 1;
    for (int i = 0; i < n; i++) x[i] = (state = state * 1664525u + 1013904223u) >> 8;
    sort(x, n);
    for (int i = 1; i < n; i++) wrong += x[i] < x[i - 1];
    printf("{\\"comparisons\\": %ld, \\"moves\\": %ld, \\"wrong\\": %d}\\n", comparisons, moves, wrong);
    return 0;
}
"""
HEAD = "int less(int a, int b);\nvoid put(int *x, int at, int value);\n\n"
BUBBLE = (
    HEAD
    + """// Every pair, again and again.
void sort(int *x, int n) {
    for (int round = 0; round < n; round++)
        for (int i = 1; i < n; i++)
            if (less(x[i], x[i - 1])) {
                int kept = x[i];
                put(x, i, x[i - 1]);
                put(x, i - 1, kept);
            }
}
"""
)
INSERTION = (
    HEAD
    + """void sort(int *x, int n) {
    for (int i = 1; i < n; i++) {
        int kept = x[i], at = i;
        while (at > 0 && less(kept, x[at - 1])) {
            put(x, at, x[at - 1]);
            at--;
        }
        put(x, at, kept);
    }
}
"""
)
BINARY = (
    HEAD
    + """static int place(const int *x, int n, int value) {
    int from = 0;
    while (n > 0) {
        int half = n / 2;
        if (less(value, x[from + half])) n = half;
        else { from += half + 1; n -= half + 1; }
    }
    return from;
}

void sort(int *x, int n) {
    for (int i = 1; i < n; i++) {
        int kept = x[i], to = place(x, i, kept);
        for (int at = i; at > to; at--) put(x, at, x[at - 1]);
        put(x, to, kept);
    }
}
"""
)
CRASHES = INSERTION.replace("at > 0 && less", "less").replace(
    "int kept = x[i], at = i;", "int kept = ((int *)0)[i], at = i;"
)
UNBUILDABLE = INSERTION.replace("at > 0", "where > 0")
WASTEFUL = BINARY.replace("put(x, to, kept);", "for (int k = 0; k < 99; k++) put(x, to, kept);")
"""Few comparisons, and more moves than the guardrail allows."""


def reply(memo: str, files: dict[str, str] | None = None, manifest: str = "") -> str:
    """A model's reply: a memo, whole files in fences, and a manifest."""
    blocks = [f"```c file={path}\n{text}```\n" for path, text in (files or {}).items()]
    blocks += [f"```toml file=candidate.toml\n{manifest}```\n"] if manifest else []
    return f"[{memo.partition(' ')[0]}] {memo}\n\n" + "\n".join(blocks)


def sorting(root: Path, toml: str = TOML) -> Path:
    """A project with the task; its folder."""
    folder = root / "tasks" / TASK
    (folder / "workspace/tables").mkdir(parents=True)
    (folder / "task.toml").write_text(toml)
    (folder / "program.md").write_text("# Programme\n\nFewer comparisons.\n\n## Deeper\n\nKnow where a value goes.\n")
    (folder / "workspace/bench.c").write_text(BENCH)
    (folder / "workspace/sort.c").write_text(BUBBLE)
    (folder / "workspace/tables/gaps.txt").write_text("# gaps of a sort, one in a line\n1\n4\n10\n23\n")
    return folder
