"""What is wrong with a reply before anything is built: left out, empty, not ASCII, prose among code, nothing computed.

Each problem is a sentence that goes back to the model. Honest code must not be refused, so an elision counts only where
a comment says it in so many words or the code shows it as well; whether the code is right is the judge's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from warpsmith.model.candidate import Candidate
from warpsmith.model.task import KernelTask, Role
from warpsmith.propose.llm.lexing import Function, Token, functions, is_python, tokens

CODE = (".c", ".h", ".cpp", ".cc", ".hpp", ".cu", ".cuh", ".py", ".ptx", ".toml")
_WHAT = (
    r"(?:code|file|kernels?|functions?|implementation|program|definitions?|body|helpers?|routines?|source|includes?)"
)
_DOTS = r"(?:\.\.\.|\u2026)"
_SURE = re.compile(
    rf"""
    {_DOTS}\s*\(?\s*(?:\w+\s+){{0,3}}(?:rest|remaining|remainder|existing|previous|original|same|unchanged|omitted)\b
    | \b(?:existing|original|previous|unchanged|remaining|rest\ of\ the)\s+{_WHAT}\s*(?:here\s*)?{_DOTS}
    | \bomitted\ for\ (?:brevity|clarity|space)
    | \b(?:insert|paste|keep|put)\ (?:the\ |your\ )?(?:existing|original|remaining|rest\ of\ the|previous)\s+{_WHAT}
    | \b{_WHAT}\s+(?:goes|go)\ here\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Says by itself that code was left out, where it stands alone on its line."""
_PERHAPS = re.compile(
    rf"""
    ^\W*{_DOTS}\W*$ | \bunchanged\b | \bomitted\b | \bsame\ as\ (?:before|above|in\ the)
    | \b(?:rest|remainder)\ of\ (?:the\ |this\ )?{_WHAT}\b | \bas\ (?:before|in\ the\ original)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Says so only where the code after it is missing too."""
_TODO = re.compile(r"\b(?:TODO|FIXME|not (?:yet )?implemented|implement (?:this|me|here)|your code)\b", re.IGNORECASE)
_PROSE = re.compile(
    r"""^(?:here(?:'s|\ is|\ are)|sure|certainly|of\ course|i(?:'ve|\ have|'ll|\ will)?\ |below\ is|the\ following
    |this\ (?:version|kernel|code|implementation)\ |explanation|note\ that|let\ me|we\ |as\ requested|okay|ok,)""",
    re.IGNORECASE | re.VERBOSE,
)
_BIDI = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
SHRUNK = 0.6
"""A file with less than this share of its parent's tokens may have left code out, where a comment says so."""
LONGEST_REMARK = 16
"""Words of a comment that may say that something was left out; a longer one explains."""
_IDLE = frozenset({"return", "pass", ";", "...", "abort", "assert", "(", ")", "0", "None", "void"})
"""A body of nothing but these does nothing."""


def problems(
    files: Mapping[str, str], parent: Mapping[str, str], given: Candidate | None, task: KernelTask
) -> list[str]:
    """Everything that is wrong, in sentences; none where nothing is.

    Args:
        files: All sources of the candidate, by path.
        parent: Those of its parent, which may have other files.
        given: The candidate, where it could be made: it names entry and kernels.
        task: Whose outputs must be written.
    """
    code = {path: text for path, text in files.items() if path.endswith(CODE)}
    return left_out(code, parent) + _bodies(files, parent, given) + _computes(files, given, task)


def of_overlay(files: Mapping[str, str], parent: Mapping[str, str]) -> list[str]:
    """The same for ``files`` that go over others; a file of a workspace stands for itself, so bodies are looked for in
    the file that had them.
    """
    code = {path: text for path, text in files.items() if path in parent and path.endswith(CODE)}
    bodies = (_bodies({path: text}, {path: parent[path]}, None) for path, text in code.items())
    return left_out(files, parent) + [said for found in bodies for said in found]


def left_out(files: Mapping[str, str], parent: Mapping[str, str]) -> list[str]:
    """What is wrong with the files that differ from ``parent``, whatever they are for."""
    found: list[str] = []
    for path, text in files.items():
        before = parent.get(path, "")
        if text != parent.get(path) and path.endswith(CODE):
            found += [*_prose(path, text), *_not_ascii(path, text), *_elisions(path, text, before)]
        elif text != parent.get(path):
            found += _lines_left_out(path, text, before)
    return found


def _prose(path: str, text: str) -> list[str]:
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if not first:
        return [f"{path} is empty."]
    if first.startswith("```") or (_PROSE.match(first) and not re.search(r"[;{}=#]", first)):
        return [f"{path} begins with prose, not code: {first[:60]!a}. A file block holds the file and nothing else."]
    return []


def _not_ascii(path: str, text: str) -> list[str]:
    if text.isascii():
        return []
    hidden = [(n, c) for n, line in enumerate(text.splitlines(), 1) for c in _BIDI.findall(line)]
    if path.endswith(".toml"):
        return []  # the reader of manifests takes any text
    wrong = hidden + [
        (t.line, c)
        for t in tokens(text, path)
        if t.kind not in ("comment", "string")
        for c in t.text
        if not c.isascii()
    ]
    if not wrong:
        return []
    line, character = wrong[0]
    return [
        f"{path}:{line} holds the character U+{ord(character):04X} in code. Code is plain ASCII; comments may differ."
    ]


def _elisions(path: str, text: str, before: str) -> list[str]:
    given = tokens(text, path)
    for i, t in enumerate(given):
        bare = t.text == "..." and not is_python(path) and _own_line(text, t.line) == "..."
        sure = t.kind == "comment" and t.alone and _SURE.search(t.text)
        perhaps = (
            t.kind == "comment" and t.alone and _PERHAPS.search(t.text) and _missing(given[i + 1 :], text, before, path)
        )
        if bare or (sure and _short(t)) or (perhaps and _short(t)):
            shown = " ".join(t.text.split())[:80]
            return [f"{path}:{t.line} leaves code out ({shown!a}). Give every file whole: what is not there is gone."]
    return []


def _lines_left_out(path: str, text: str, before: str) -> list[str]:
    """The same for a file that is no code that we read: its lines, where they begin as comments do."""
    shrunk = len(text) < SHRUNK * len(before)
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        remark = bare.startswith(("#", "//", ";", "--", "<!--", "/*")) and len(bare.split()) <= LONGEST_REMARK
        if (remark and (_SURE.search(bare) or (shrunk and _PERHAPS.search(bare)))) or (shrunk and bare == "..."):
            return [f"{path}:{number} leaves lines out ({bare[:80]!a}). Give every file whole."]
    return []


def _short(comment: Token) -> bool:
    """Whether a comment is a remark: a longer one explains."""
    return len(comment.text.split()) <= LONGEST_REMARK


def _own_line(text: str, line: int) -> str:
    return text.splitlines()[line - 1].strip()


def _missing(after: tuple[Token, ...], text: str, before: str, path: str) -> bool:
    """Whether something is gone where a comment may say so: the block or the file ends there, much of the parent's code
    is no longer there, or functions that are called are defined no longer.
    """
    following = next((t for t in after if t.kind != "comment"), None)
    if following is None or (following.text == "}" and not is_python(path)):
        return True
    if len(tokens(text, path)) < SHRUNK * len(tokens(before, path)):
        return True
    had = {f.name for f in functions(before, path)}
    has = {f.name for f in functions(text, path)}
    called = {t.text for t in tokens(text, path) if t.kind == "word"}
    return bool((had - has) & called)


def _bodies(files: Mapping[str, str], parent: Mapping[str, str], given: Candidate | None) -> list[str]:
    """Functions without a body that do something: the entry, kernels that are launched, and what the parent filled."""
    wanted = {given.entry, *(x.kernel for x in given.launch)} if given else set()
    full = {f.name for p, t in parent.items() for f in functions(t, p) if not _idle(f)}
    defined: dict[str, list[tuple[str, Function]]] = {}
    for path, text in files.items():
        for f in functions(text, path):
            defined.setdefault(f.name, []).append((path, f))
    found = []
    for name, all_of in defined.items():
        path, first = all_of[0]
        if (name in wanted or name in full) and all(_idle(f) for _, f in all_of):
            todo = any(t.kind == "comment" and _TODO.search(t.text) for _, f in all_of for t in f.body)
            what = "is left to be done" if todo else "is empty"
            found.append(f"{path}:{first.line} the body of {name} {what}. Write it out: nobody will fill it in.")
    return found


def _idle(function: Function) -> bool:
    return all(t.text in _IDLE or t.kind == "string" for t in function.code)


def _computes(files: Mapping[str, str], given: Candidate | None, task: KernelTask) -> list[str]:
    """Whether what is called still touches outputs and inputs. Parameters are matched by position."""
    if given is None or given.toolchain == "ptx":
        return []
    roles = {a.name: a.role for a in task.arguments if a.is_tensor}
    calls = [(x.kernel, x.arguments) for x in given.launch] or [(given.entry, tuple(a.name for a in task.arguments))]
    everything = [f for path, text in files.items() for f in functions(text, path)]
    used: dict[str, bool] = {}
    for name, arguments in calls:
        for f in (f for f in everything if f.name == name and not _idle(f)):
            words = {t.text for t in f.code}
            matched = len(f.parameters) == len(arguments)
            for argument, parameter in zip(arguments, f.parameters, strict=False):
                used[argument] = used.get(argument, False) or parameter in words or not matched
    lost = [n for n, role in roles.items() if role is Role.output and used.get(n) is False]
    if lost:
        return [f"the computation is gone: nothing writes {', '.join(lost)}. Keep what the task computes."]
    read = [used[n] for n, role in roles.items() if role is Role.input and n in used]
    if read and not any(read):
        return ["the computation is gone: no input is read. Keep what the task computes."]
    return []
