"""The ``knowledge`` verbs: what is known, how to search it, how it leaves the project and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warpsmith.knowledge.library import Library
    from warpsmith.surface import answers_knowledge


def knowledge() -> answers_knowledge.KnowledgeAnswer:
    """What is known: skills, memory of every task, patterns, wikis, and how often each rule's advice came true.

    Exit status 1 where something of it is damaged: a skill that breaks the style guide, a ledger, page or manifest that
    cannot be read.
    """
    from warpsmith.analyse.rates import upper95
    from warpsmith.knowledge.patterns import lower95
    from warpsmith.knowledge.skill import check
    from warpsmith.surface.answers import NO, YES
    from warpsmith.surface.answers_knowledge import KnowledgeAnswer, RuleRate, WikiCount, counted

    library = _library()
    wikis, _ = library.wikis.all()
    problems = (*check(), *library.problems)
    return KnowledgeAnswer(
        exit_status=NO if problems else YES,
        skills=tuple(s.line for s in library.skills.values()),
        tasks={task: counted(a.outcome for a in attempts) for task, attempts in library.tasks().items()},
        own=library.own,
        patterns=library.patterns,
        rates=tuple(
            RuleRate(
                rule=rule,
                device=device,
                hits=r.hits,
                tries=r.tries,
                low=lower95(r.hits, r.tries),
                high=upper95(r.hits, r.tries),
            )
            for (rule, device), r in sorted(library.hit_rates.items())
        ),
        wikis=tuple(
            WikiCount(name=w.name, source=w.source, pages=counted(p.confidence for p in w.pages)) for w in wikis
        ),
        problems=problems,
    )


def knowledge_search(*query: str, kind: tuple[str, ...] = (), limit: int = 10) -> answers_knowledge.SearchAnswer:
    """Find what is known: skills, glossary, memory, patterns and wikis, best match first.

    Exit status 2 where nothing matches. The words are looked for as they stand, in any form and order; no syntax.

    Args:
        query: Words.
        kind: Look among these only: skill, glossary, memory, pattern, wiki.
        limit: Answers at most.
    """
    from warpsmith.surface.answers import NOTHING_GAINED, YES
    from warpsmith.surface.answers_knowledge import SearchAnswer

    found = _library().search(" ".join(query), kind, limit)
    status = YES if found.hits else NOTHING_GAINED
    return SearchAnswer(exit_status=status, query=ascii(" ".join(query))[1:-1], found=found)


def knowledge_show(name: str) -> answers_knowledge.KnowledgeShowAnswer:
    """One thing that is known, whole.

    Args:
        name: An id of 'knowledge search', its end, a rule, a task (all that was tried on it), or a candidate's id.
    """
    from warpsmith.surface.answers_knowledge import KnowledgeShowAnswer

    return KnowledgeShowAnswer(document=_library().show(name))


def knowledge_import(path: Path, *, name: str = "") -> answers_knowledge.KnowledgeImportAnswer:
    """Take in a folder of Markdown: exported pages become memory and patterns again, all else a wiki.

    Importing the same folder again updates it. Exit status 1 where a file was refused; the rest was taken.

    Args:
        path: A folder, or one exported page.
        name: The wiki's name; the folder's where none is given.
    """
    from warpsmith.surface.answers import NO, YES
    from warpsmith.surface.answers_knowledge import KnowledgeImportAnswer

    imported = _library().import_folder(path, name)
    status = NO if imported.refused else YES
    return KnowledgeImportAnswer(exit_status=status, source=str(path), imported=imported)


def knowledge_export(*, output: Path | None = None) -> answers_knowledge.KnowledgeExportAnswer:
    """Write memory (a page per task) and the pattern library as Markdown, to be committed.

    Equal knowledge gives equal bytes. A clone that holds the pages remembers, without any import. Exit status 1 where a
    ledger or page could not be read, 2 where there is nothing to write.

    Args:
        output: The folder; knowledge/ of the project where none is given. What it holds is merged in.
    """
    from warpsmith.surface.answers import NO, NOTHING_GAINED, YES
    from warpsmith.surface.answers_knowledge import KnowledgeExportAnswer

    done = _library(output).export(output)
    status = NO if done.problems else YES if done.written or done.unchanged else NOTHING_GAINED
    return KnowledgeExportAnswer(exit_status=status, done=done)


def _library(output: Path | None = None) -> Library:
    from warpsmith.knowledge.library import Library
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    if output is not None:
        space.outside_releases(output)
    return Library(space.home, space.root, space.blobs)
