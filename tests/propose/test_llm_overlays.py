"""Overlays that a model writes: what it is shown, how its reply is read, what is told back, what is a clone, what is
mended.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.propose.overlaying import Bench
from tests.propose.sorting import BINARY, BUBBLE, HEAD, INSERTION, TASK, TOML, reply, sorting
from tests.propose.test_llm_proposer import block
from warpsmith.analyse.lines import mendable, turns
from warpsmith.analyse.standing import standing
from warpsmith.errors import BadInput
from warpsmith.model.campaign import Finished
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Effort, Status
from warpsmith.model.harness import Server
from warpsmith.model.profile import Activity, Profile, Timeline
from warpsmith.model.step import Explain, Proposal
from warpsmith.propose.agent import made as made_agent
from warpsmith.propose.llm.overlays import manifest
from warpsmith.propose.llm.proposer import REPLIES, Llm, made
from warpsmith.propose.llm.tuned import Tuned
from warpsmith.surface.stamp import stamp
from warpsmith.surface.subject import subject


def bench(root: Path, *replies: str, toml: str = TOML, **settings: object) -> Bench:
    """The sorting task with a model that says these in turn."""
    sorting(root, toml)
    said = list(replies)
    return Bench(root, lambda ask: said.pop(0), TASK, **settings)


def one(given: Bench, text: str, parent: Candidate | None = None) -> Proposal:
    """What comes of a single reply; after it the model gives up."""
    given.asker.script = lambda ask: text if len(given.asker.asked) == 1 else "No."
    given.asker.asked.clear()
    return given.ask(Llm(given.place), given.step(parent.id if parent else ""))


def taken(given: Bench, text: str, parent: Candidate | None = None) -> Candidate:
    found = one(given, text, parent)
    assert found.candidates, found.drafts[0].problems
    return found.candidates[0]


def files(given: Bench, candidate: Candidate) -> dict[str, str]:
    return {s.path: given.space.blobs.get(s.content).decode() for s in candidate.sources}


def test_a_reply_is_files_and_variables_over_those_of_the_parent(tmp_path: Path) -> None:
    b = bench(tmp_path)
    said = "[environment]\nOMP_NUM_THREADS = 2\n[tunables]\nGAP = 3\n"
    first = taken(b, reply("insertion and a gap", {"sort.c": INSERTION}, said))
    assert files(b, first) == {"sort.c": INSERTION}
    assert (first.environment, first.parameters) == ({"OMP_NUM_THREADS": "2"}, {"GAP": 3})
    assert first.memo == "[insertion] insertion and a gap" and first.parent == b.known.entry.id
    second = taken(b, reply("table", {"tables/new.txt": "1\n"}), first)
    assert files(b, second) == {"sort.c": INSERTION, "tables/new.txt": "1\n"}, "what is not given stays"
    assert (second.environment, second.parameters) == (first.environment, first.parameters)
    third = taken(b, reply("settings alone", None, "environment = {}\n"), second)
    assert third.environment == {} and third.parameters == {"GAP": 3} and len(third.sources) == 2
    fourth = taken(b, reply("back", {"sort.c": BUBBLE}), second)
    assert files(b, fourth) == {"tables/new.txt": "1\n"}, "a file as the workspace has it leaves the overlay"
    fifth = taken(b, reply("less", None, 'sources = ["sort.c"]\n[tunables]\nGAP = 2\n'), second)
    assert files(b, fifth) == {"sort.c": INSERTION}
    assert b.known.loaded.task.refuses(fifth) == ""


def test_a_file_that_is_no_text_stays_as_it_is(tmp_path: Path) -> None:
    b = bench(tmp_path)
    binary = SourceFile(path="tables/weights.bin", content=b.space.blobs.put(b"\0\xff\r\n\0"))
    parent = b.known.entry.model_copy(update={"sources": (binary,), "memo": "[x] with weights"})
    b.h.candidates[parent.id], b.h.origins[parent.id] = parent, "submitted"
    b.measure(parent, 0.9)
    child = taken(b, reply("insertion", {"sort.c": INSERTION}), parent)
    assert binary in child.sources
    assert "tables/weights.bin" in block(b.asker.asked[0], "source"), "its manifest lists it"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (reply("x", {"bench.c": "int main(void) { }\n"}), "bench.c cannot be changed by a candidate. Mutable"),
        (reply("x", {"../../task.toml": "kind = 1\n"}), "'../../task.toml' is no path inside"),
        (reply("x", {"/etc/passwd": "root\n"}), "'/etc/passwd' is no path inside"),
        (reply("x", {"tables/../bench.c": "int x;\n"}), "is no path inside"),
        (reply("x", {"sort.c": BUBBLE}), "Nothing is changed"),
        (reply("x", {"sort.c": HEAD + "void sort(int *x, int n)\n{\n// ... existing code ...\n}\n"}), "leaves code"),
        (reply("x", {"sort.c": HEAD + "void sort(int *x, int n)\n{\n}\n"}), "the body of sort is empty"),
        (reply("x", {"sort.c": INSERTION.replace("kept", "k\u00e9pt")}), "U+00E9"),
        (reply("x", {"tables/gaps.txt": "# ... rest of the lines unchanged ...\n"}), "leaves lines out"),
        (reply("x", None, '[environment]\nLD_PRELOAD = "./x.so"\n'), "LD_PRELOAD decides which programs run"),
        (reply("x", None, '[environment]\nCUDA_VISIBLE_DEVICES = "1"\n'), "is said by the GPU pin"),
        (reply("x", None, '[environment]\nGAP = "2"\n'), "GAP: a tunable. Set it under [tunables]"),
        (reply("x", None, "[tunables]\nWIDTH = 2\n"), "WIDTH is no tunable"),
        (reply("x", None, "[tunables]\nGAP = 7\n"), "the default 7 is not among the values [1, 2, 3]"),
        (reply("x", None, 'sources = ["tables/none.txt"]\n'), "'tables/none.txt' is not there"),
        (reply("x", None, "[enviroment]\nA = 1\n"), "enviroment: unknown"),
        (reply("x", None, "environment = 3\n"), "environment: write it as a table"),
        (reply("x", None, "[environment\n"), "not TOML"),
        ("[x] words only\n", "There is no file in it"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_back_and_asked_for_again(tmp_path: Path, text: str, told: str) -> None:
    b = bench(tmp_path)
    found = one(b, text)
    assert not found.candidates and len(b.asker.asked) == REPLIES
    assert told in found.drafts[0].problems[0], found.drafts[0].problems
    assert told in b.asker.asked[1].messages[-1].text


@pytest.mark.parametrize(
    ("again", "clone"),
    [
        (BINARY.replace("static", "/* another remark */\nstatic").replace("    ", "  "), True),
        (BINARY.replace("from", "start"), True),
        (BINARY.replace("place(", "where_to("), True),
        (BINARY.replace("n / 2", "n / 3"), False),
        (BINARY.replace("sort(", "order("), False),
    ],
)
def test_an_overlay_that_is_there_but_for_names_and_comments_is_not_measured(
    tmp_path: Path, again: str, clone: bool
) -> None:
    b = bench(tmp_path)
    b.measure(taken(b, reply("halves", {"sort.c": BINARY})), 0.5)
    found = one(b, reply("again", {"sort.c": again}))
    assert bool(found.candidates) is not clone, "a name that the harness calls is no name of its own"
    assert ("the same code as one" in "".join(found.drafts[0].problems)) is clone
    assert one(b, reply("with a setting", {"sort.c": again}, "[tunables]\nGAP = 2\n")).candidates


def test_constants_of_a_settings_file_are_no_names_to_be_had(tmp_path: Path) -> None:
    toml = TOML.replace('mutable = ["sort.c"', 'mutable = ["knobs.py", "*.yaml", "sort.c"')
    b = bench(tmp_path, toml=toml)
    (tmp_path / "tasks" / TASK / "workspace/reader.py").write_text("from knobs import DEPTH, WIDTH\n")
    b = Bench(tmp_path, lambda ask: "", TASK)
    b.measure(taken(b, reply("knobs", {"knobs.py": "DEPTH = 1\nWIDTH = 2\n"})), 0.9)
    taken(b, reply("swapped", {"knobs.py": "WIDTH = 1\nDEPTH = 2\n"}))
    b.measure(taken(b, reply("yaml", {"a.yaml": "at: http://one\n"})), 0.9)
    taken(b, reply("yaml", {"a.yaml": "at: http://two\n"}))


def test_what_a_model_is_shown(tmp_path: Path) -> None:
    b = bench(
        tmp_path,
        reply("insertion", {"sort.c": INSERTION}, "[tunables]\nGAP = 2\n"),
        reply("halves", {"sort.c": BINARY}),
    )
    (made,) = b.ask(Llm(b.place), b.step()).candidates
    b.guarded(made, 0.5, 0.9)
    b.measure(made, 0.5, Effort.confirm)
    b.ask(Llm(b.place), b.step(made.id))
    first, second = b.asker.asked
    assert first.system == second.system and all(x.stable for x in first.system)
    assert [x.name for x in first.system] == ["rules", "contract", "task", "workspace"]
    assert "Fewer comparisons." in block(first, "task") and "## Deeper" in block(first, "task")
    contract = block(first, "contract")
    for said in (
        "prepared once by `gcc -O1 bench.c sort.c -o bench`", "measured by `./bench {N}`", "PATH", "LD_*",
        "`wrong` in the document is 0", "comparisons: THE OBJECTIVE, 1, smaller is better",
        "moves: guardrail, 1, smaller is better: at most 50.0% worse", "hundred (weight 1): N = 100",
        "Mutable: sort.c, tables/*", "GAP: one of 1, 2, 3; 1 where",
    ):  # fmt: skip
        assert said in contract, said
    shown = block(first, "workspace")
    assert "Every pair, again and again" in shown and "``` tables/gaps.txt" in shown and "counts what" not in shown
    assert shown.index("``` sort.c") < shown.index("``` tables/gaps.txt"), "the task's first pattern first"
    source = block(second, "source")
    assert "# The overlay to improve" in source and "file=sort.c\n" + INSERTION in source and "GAP = 2" in source
    assert "comparisons (objective, minimize)" in block(second, "timings") and "as good as" in block(second, "timings")
    assert "[insertion]" in block(second, "attempts")
    assert "better than this overlay by comparisons: THE OBJECTIVE" in block(second, "order")
    assert not block(first, "catalogue") and not block(first, "skills"), "skills only where they fire"
    told = b.h.candidates[made.id]
    assert 'sources = ["sort.c"]' in manifest(told)


def test_files_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    folder = sorting(tmp_path)
    (folder / "workspace/tables/long.txt").write_text("a few words and 12345\n" * 2000)
    (folder / "workspace/tables/packed.bin").write_bytes(bytes(range(256)) * 4)
    b = Bench(tmp_path, lambda ask: "No.", TASK)
    b.ask(Llm(b.place), b.step())
    shown = block(b.asker.asked[0], "workspace")
    assert "``` sort.c" in shown
    assert "tables/packed.bin 1024" in shown and "tables/long.txt 44000" in shown and "a few words" not in shown
    tight = Bench(tmp_path, lambda ask: "No.", TASK, prompt_tokens=2600)
    tight.ask(Llm(tight.place), tight.step())
    assert f"sort.c {len(BUBBLE)}" in block(tight.asker.asked[0], "workspace")
    assert block(tight.asker.asked[0], "task"), "files give way before what the task says"


@pytest.mark.parametrize(("kind", "hardware"), [("command", "cpu"), ("serving", "cpu"), ("serving", "cuda")])
def test_prompts_stay_below_eight_thousand_tokens_on_the_templates(tmp_path: Path, kind: str, hardware: str) -> None:
    places = subject("", None, hardware, "", "").places if kind == "serving" else {}
    folder, _ = stamp(tmp_path / "tasks", "demo/x", kind, hardware, places)
    path = "transpose.c" if kind == "command" else "backend/hooks.py"
    text = (folder / "workspace" / path).read_text()
    line = "static int v{} = 1;" if kind == "command" else "V{} = 1"
    said = [reply(f"try{n} change {n}", {path: f"{text}\n{(line + chr(10)).format(n) * (n + 1)}"}) for n in range(6)]
    b = Bench(tmp_path, lambda ask: said.pop(0), "demo/x")
    llm, parent, systems = Llm(b.place), "", set()
    for n in range(6):
        found = b.ask(llm, b.step(parent))
        assert found.candidates, found.drafts
        (made,) = found.candidates
        if n % 3 == 2:
            b.fail(
                made,
                Status.crashed,
                "the run of x ended with signal 11; stderr ends 'abc'\n" + "words of a log\n" * 200,
            )
        else:
            b.measure(made, 0.9 - n / 50)
            parent = made.id
        systems.add(b.asker.asked[-1].system)
    sizes = [sum(r.tokens for r in ask.records()) for ask in b.asker.asked]
    assert max(sizes) < 8000, sizes
    assert len(systems) == 1, "the cached blocks are the same to the byte"
    last = {x.name for x in b.asker.asked[-1].blocks}
    assert {"rules", "contract", "task", "workspace", "source", "timings", "attempts", "order"} <= last
    if kind == "serving":
        assert "# demo/x: programme" in block(b.asker.asked[0], "task") and "## What does not count" in block(
            b.asker.asked[0], "task"
        )
        assert "``` backend/glue.py" in block(b.asker.asked[0], "workspace")


@pytest.mark.parametrize(
    ("status", "detail", "words"),
    [
        (Status.build_failed, "prepare ('gcc') ended with exit status 1; stderr ends 'sort.c:5:9: error: no\\n'",
         ("Status: build_failed", "sort.c:5: no", ">    5")),
        (Status.crashed, "run ended with SIGSEGV", ("Status: crashed", "SIGSEGV", "a run that ends with status 0")),
        (Status.timed_out, "a run took longer than 60 s", ("Status: timed_out", "done within 60 s")),
        (Status.wrong_values, "wrong is 3, which must be 0", ("wrong is 3", "wrong is 0 in every run's document")),
        (Status.bad_report, "no JSON document", ("one JSON document", "comparisons, moves above 0")),
    ],
)  # fmt: skip
def test_a_failure_comes_back_with_what_was_expected(
    tmp_path: Path, status: Status, detail: str, words: tuple[str, ...]
) -> None:
    b = bench(tmp_path)
    bad = taken(b, reply("insertion", {"sort.c": INSERTION}))
    b.fail(bad, status, detail)
    s = standing(b.h)
    assert mendable(b.h, s, b.campaign()) == (bad.id,)
    b.asker.script = lambda ask: reply("fix it", {"sort.c": BINARY})
    (mended,) = b.ask(Llm(b.place), b.step(bad.id, "fix")).candidates
    order = block(b.asker.asked[-1], "order")
    assert all(w in order for w in words), order
    assert "# The overlay to mend" in block(b.asker.asked[-1], "source")
    assert mended.memo.startswith("[insertion]"), "the idea keeps its name"


def test_what_wins_and_breaks_a_guardrail_is_mended_and_what_loses_is_not(tmp_path: Path) -> None:
    b = bench(tmp_path)
    tempting, slow = taken(b, reply("insertion", {"sort.c": INSERTION})), taken(b, reply("halves", {"sort.c": BINARY}))
    b.guarded(tempting, 0.5, 3.0)
    b.guarded(slow, 1.5, 3.0)
    s = standing(b.h)
    assert set(s.broken) == {tempting.id, slow.id}
    assert mendable(b.h, s, b.campaign()) == (tempting.id,)
    assert next((t.parent, t.role) for t in turns(b.h, s, b.campaign(), 2, 1)) == (tempting.id, "fix")
    b.asker.script = lambda ask: reply("fewer moves", {"sort.c": INSERTION.replace("at--", "at -= 1")})
    b.ask(Llm(b.place), b.step(tempting.id, "fix"))
    order = block(b.asker.asked[-1], "order")
    assert "Status: guardrail" in order and "breaks hundred/moves" in order
    assert "Expected: moves: guardrail, 1, smaller is better: at most 50.0% worse" in order


def test_a_variable_alone_that_fails_is_mended_and_a_tunable_is_not(tmp_path: Path) -> None:
    b = bench(tmp_path)
    variable = taken(b, reply("more memory", None, '[environment]\nDEPTH = "9"\n'))
    point = taken(b, reply("gap", None, "[tunables]\nGAP = 3\n"))
    b.fail(variable, Status.crashed, "out of memory")
    b.fail(point, Status.crashed, "out of memory")
    assert mendable(b.h, standing(b.h), b.campaign()) == (variable.id,)


def test_what_the_model_makes_tunable_the_sweep_tunes(tmp_path: Path) -> None:
    said = "[tunables]\nDEPTH = { values = [1, 2, 4], default = 2 }\n"
    b = bench(tmp_path, reply("depth", {"sort.c": INSERTION}, said))
    tuned = Tuned(b.place)
    (made,) = b.ask(tuned, b.step(count=8)).candidates
    assert made.parameters == {"GAP": 1, "DEPTH": 2} and "A search tries them after you" in block(
        b.asker.asked[0], "rules"
    )
    b.measure(made, 0.5, Effort.confirm)
    swept = b.ask(tuned, b.step(count=8)).candidates
    assert len(swept) == 8 and all(c.sources == made.sources for c in swept)
    assert {c.parameters["DEPTH"] for c in swept} == {1, 2, 4}


def test_notices_of_the_rhythm_reach_the_model(tmp_path: Path) -> None:
    b = bench(tmp_path)
    best = taken(b, reply("gap", None, '[environment]\nDEPTH = "9"\n'))
    b.measure(best, 0.5, Effort.confirm)
    b.asker.script = lambda ask: "No."
    b.ask(Llm(b.place), b.step(best.id))
    assert "DEFAULT:" in block(b.asker.asked[-1], "directives") and "DEPTH=9" in block(b.asker.asked[-1], "directives")


def test_where_the_time_of_a_timeline_goes_reaches_the_model(tmp_path: Path) -> None:
    b = bench(tmp_path, "No.", "No.", "No.")
    kernels = (("gemm", 0.6), ("copy", 0.3), ("gemm", 0.1))
    each = {"kind": "kernel", "count": 1, "median_s": 0.1, "longest_s": 0.1}
    spans = tuple(Activity(name=n, seconds=s, **each) for n, s in kernels)
    profile = Profile(candidate=b.known.entry.id, tool="nsys", timeline=Timeline(seconds=2.0, activities=spans))
    step = Explain(candidate=b.known.entry.id, round=0)
    b.h = b.h + Finished(step=step, outcome=profile, seconds=0, at=0)
    b.ask(Llm(b.place), b.step())
    assert "- 70% of the time: gemm\n- 30% of the time: copy" in block(b.asker.asked[-1], "findings")


def test_a_server_that_runs_already_cannot_be_changed_by_anybody(tmp_path: Path) -> None:
    stamp(tmp_path / "tasks", "demo/x", "serving", "cpu", subject("", None, "cpu", "", "").places)
    b = Bench(tmp_path, lambda ask: "", "demo/x")
    given = {"server": Server(url="http://127.0.0.1:1")}
    place = b.place.__class__(**{**vars(b.place), "task": b.known.loaded.task.model_copy(update=given)})
    for make in (made, made_agent):
        with pytest.raises(BadInput, match="runs already, and no candidate can change it"):
            make(place)
