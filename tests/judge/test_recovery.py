"""After a candidate that took everything it could get, the next one is judged right, in the same session. Real gcc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import project
from warpsmith.execute.local import LocalExecutor
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Effort, Evaluation, Status
from warpsmith.surface.workspace import Workspace

HEAD = "#define _GNU_SOURCE\n" + "".join(
    f"#include <{name}.h>\n"
    for name in (
        "fcntl", "pthread", "signal", "stdint", "stdio", "stdlib", "string", "sys/mman", "sys/socket", "sys/stat",
        "unistd",
    )
)  # fmt: skip
SIGNATURE = "void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)"
RIGHT = "for (int64_t i = 0; i < n; i++) y[i] = alpha * x[i] + y0[i];"
WRONG = RIGHT + " y[0] += 1;"
ANSWER = """
static void answer(int count)
{
    for (int fd = 3; fd < 64; fd++) {
        struct stat s;
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && (flags & O_ACCMODE) == O_WRONLY && fstat(fd, &s) == 0 && S_ISFIFO(s.st_mode))
            (void)!write(fd, "DD", count);
    }
}
static void *ahead(void *unused) { for (;;) { usleep(200); answer(1); } return unused; }
"""
CHILDREN = """
for (int child = 0; child < 12; child++) {
    if (fork() != 0) continue;
    volatile char *p = malloc(1 << 27);
    for (int i = 0; p && i < 1 << 27; i += 4096) p[i] = 1;
    pause();
}
sleep(100);
"""
FILES = """
char path[64], *content = calloc(1, 1 << 20);
for (int i = 0;; i++) {
    snprintf(path, 64, "/tmp/%d", i);
    int f = open(path, O_CREAT | O_WRONLY, 0600);
    if (f < 0 || write(f, content, 1 << 20) <= 0) break;
    close(f);
}
"""
GREEDY: dict[str, tuple[str, tuple[Status, ...], str]] = {
    "hangs": ("for (volatile int i = 0;; i++) {}", (Status.timed_out,), "no answer within"),
    "takes all memory": (
        "for (;;) { volatile char *p = malloc(1 << 28); if (!p) abort(); p[0] = p[1 << 27] = 1; }",
        (Status.crashed, Status.timed_out), ""),
    "takes all memory with children": (
        CHILDREN,
        (Status.timed_out, Status.crashed), ""),
    "prints without end": ("for (;;) puts(\"flood\");", (Status.crashed,), "more than 16 MiB"),
    "forks without end": ("for (;;) fork();", (Status.timed_out,), "no answer within"),
    "kills itself": (RIGHT + " kill(getpid(), SIGKILL);", (Status.crashed,), "killed from outside"),
    "kills itself from a child": (
        RIGHT + " if (fork() == 0) { kill(getppid(), SIGKILL); _exit(0); } sleep(10);",
        (Status.crashed,), "3 times in a row"),
    "fills the disk": (
        FILES + WRONG, (Status.wrong_values, Status.crashed), ""),
    "answers ahead": (RIGHT + " answer(2);", (Status.cheated,), "it answered what it was not asked"),
    "answers ahead from a thread": (
        "static pthread_t t; if (!t) pthread_create(&t, 0, ahead, 0);" + RIGHT + " usleep(2000);",
        (Status.cheated, Status.wrong_values, Status.nondeterministic), ""),
    "answers before it is ready": (
        RIGHT + " } __attribute__((constructor)) static void early(void) { answer(1);",
        (Status.cheated,), "it answered what it was not asked"),
}  # fmt: skip


class Bay:
    def __init__(self, root: Path) -> None:
        self.space: Workspace = project(root, call_timeout_s=1.0)
        self.known = self.space.task("my/axpy")
        self.target = self.space.target(self.known)
        self.executor: LocalExecutor = self.space.executor(root / ".warpsmith/steps", self.target, "recovery")

    def judge(self, body: str) -> Evaluation:
        source = f"{HEAD}{ANSWER}{SIGNATURE}\n{{\n{body}\n}}\n"
        content = self.space.blobs.put(source.encode())
        files = (SourceFile(path="kernel.c", content=content),)
        candidate = Candidate(toolchain="c", entry="kernel", sources=files, flags=("-Wno-unused-function",))
        rival = self.known.baseline
        return self.space.measure(
            self.known, self.target, candidate, rival, Effort.screen, "recovery", executor=self.executor
        )


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    made = Bay(tmp_path_factory.mktemp("project"))
    yield made
    made.executor.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", GREEDY)
def test_the_next_candidate_is_judged_right_in_the_same_session(name: str, bay: Bay) -> None:
    assert bay.judge(RIGHT).passed
    session = bay.executor.session._child
    body, statuses, detail = GREEDY[name]
    evaluation = bay.judge(body)
    assert evaluation.status in statuses, evaluation.detail
    assert detail in evaluation.detail
    assert bay.judge(RIGHT + " // again").passed
    assert bay.judge(WRONG).status is Status.wrong_values
    assert bay.executor.session._child is session
    assert session is not None
    assert session.poll() is None
