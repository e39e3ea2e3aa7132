"""Foreign folders: what can be read is kept with its hash and grade, the rest is refused by file, nothing is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.knowledge.things import library
from warpsmith.errors import BadInput
from warpsmith.knowledge import folder as folder_module
from warpsmith.knowledge.folder import LARGEST, Refused, read_folder
from warpsmith.knowledge.frontmatter import first, split
from warpsmith.knowledge.library import Imported
from warpsmith.knowledge.wiki import LARGEST_PAGE, UNGRADED, Wiki
from warpsmith.model.base import digest_bytes

PAGE = """---
id: hw-tma
title: "Tensor memory accelerator"
tags: [tma, copy]
related:
- kernel-gemm
- nowhere
confidence: source-reported
---

# TMA

See [gemm](kernels/gemm.md#tiles), [gone](gone.md), [up](../secret.md), [root](/etc/passwd), [web](https://x.org/a.md),
[bad](javascript:alert), [itself](#tma), ![image](pictures/a.png), [folder](kernels).

```
[in code](nothing.md)
```
"""


def wiki_folder(root: Path) -> Path:
    """A small wiki with everything in order but the links of one page."""
    files = {
        "hardware.md": PAGE,
        "kernels/gemm.md": "---\nid: kernel-gemm\nconfidence: Verified\n---\n# Matrix product\n\nSwizzle the tiles.\n",
        "kernels/plain.markdown": "no head at all, and no heading: split-K\n",
        "pictures/a.png": "not read",
        ".git/config.md": "never read",
    }
    for name, text in files.items():
        path = root / "wiki" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "wiki"


def pages(root: Path) -> dict[str, tuple[str, str]]:
    (wiki,), problems = library(root).wikis.all()
    assert problems == ()
    return {p.path: (p.title, p.confidence) for p in wiki.pages}


def take(root: Path, source: Path, name: str = "") -> Imported:
    return library(root).import_folder(source, name)


def test_pages_are_kept_by_hash_with_the_grade_they_state(tmp_path: Path) -> None:
    source = wiki_folder(tmp_path)
    done = take(tmp_path, source)
    assert done.wiki is not None and done.refused == ()
    assert done.wiki.added == ("hardware.md", "kernels/gemm.md", "kernels/plain.markdown")
    assert pages(tmp_path) == {
        "hardware.md": ("Tensor memory accelerator", "source-reported"),
        "kernels/gemm.md": ("Matrix product", "verified"),
        "kernels/plain.markdown": ("plain", UNGRADED),
    }
    (wiki,), _ = library(tmp_path).wikis.all()
    assert all(p.content == digest_bytes((source / p.path).read_bytes()) for p in wiki.pages)
    assert library(tmp_path).wikis.text(wiki.pages[0]) == PAGE


def test_links_are_checked_and_never_followed(tmp_path: Path) -> None:
    assert take(tmp_path, wiki_folder(tmp_path)).warnings == (
        "hardware.md: a link to gone.md, which is not there",
        "hardware.md: a link that leaves the folder: ../secret.md",
        "hardware.md: a link that leaves the folder: /etc/passwd",
        "hardware.md: a link with the scheme 'javascript'",
        "hardware.md: relates to 'nowhere', which is no page",
    )


def test_importing_again_updates(tmp_path: Path) -> None:
    source = wiki_folder(tmp_path)
    take(tmp_path, source)
    same = take(tmp_path, source).wiki
    assert same is not None and (same.added, same.changed, same.removed, same.unchanged) == ((), (), (), 3)
    (source / "kernels/gemm.md").write_text("---\nconfidence: inferred\n---\n# Matrix product, again\n")
    (source / "kernels/plain.markdown").unlink()
    (source / "new.md").write_text("# New\n")
    done = take(tmp_path, source).wiki
    assert done is not None
    assert (done.added, done.changed, done.removed) == (("new.md",), ("kernels/gemm.md",), ("kernels/plain.markdown",))
    assert pages(tmp_path)["kernels/gemm.md"] == ("Matrix product, again", "inferred")
    assert not library(tmp_path).search("inferred swizzle").all_words


def test_a_page_that_breaks_stays_as_it_was(tmp_path: Path) -> None:
    source = wiki_folder(tmp_path)
    take(tmp_path, source)
    (source / "kernels/gemm.md").write_bytes(b"\xff\xfe broken")
    done = take(tmp_path, source)
    assert done.wiki is not None and done.wiki.kept == ("kernels/gemm.md",) and done.wiki.removed == ()
    assert done.refused == (Refused(path="kernels/gemm.md", reason="not UTF-8 at byte 0"),)
    assert pages(tmp_path)["kernels/gemm.md"] == ("Matrix product", "verified")
    assert library(tmp_path).search("swizzle tiles", ["wiki"]).hits


def test_a_folder_that_became_a_link_keeps_its_pages(tmp_path: Path) -> None:
    source = wiki_folder(tmp_path)
    take(tmp_path, source)
    (source / "kernels").rename(tmp_path / "elsewhere")
    (source / "kernels").symlink_to(tmp_path / "elsewhere")
    done = take(tmp_path, source)
    assert done.wiki is not None and done.wiki.kept == ("kernels/gemm.md", "kernels/plain.markdown")
    assert done.wiki.removed == ()


def test_hostile_files_are_refused_one_by_one(tmp_path: Path) -> None:
    source = wiki_folder(tmp_path)
    secret = tmp_path / "secret.md"
    secret.write_text("# Truly hidden\n")
    (source / "binary.md").write_bytes(b"text\0more")
    (source / "latin.md").write_bytes("caf\u00e9".encode("latin-1"))
    (source / "empty.md").write_text(" \n")
    (source / "out.md").symlink_to(secret)
    (source / "gone.md").symlink_to(source / "nobody.md")
    (source / "loop.md").symlink_to(source / "loop.md")
    (source / "inside.md").symlink_to(source / "hardware.md")
    (source / "up").symlink_to(tmp_path)
    (source / "line\nbreak.md").write_text("x")
    (source / "page.md").mkdir()
    os.mkfifo(source / "pipe.md")
    with (source / "huge.md").open("wb") as file:
        file.truncate(LARGEST + 1)
    (source / "long.md").write_text("x" * (LARGEST_PAGE + 1))
    Path(os.fsdecode(os.fsencode(source) + b"/bad\xff.md")).write_text("x")
    began = time.monotonic()
    done = take(tmp_path, source)
    assert time.monotonic() - began < 30, "a pipe must not be waited for"
    assert {r.path: r.reason for r in done.refused} == {
        "bad\\xff.md": "a name with unprintable characters",
        "binary.md": "binary: it holds a zero byte",
        "empty.md": "empty",
        "gone.md": "a symbolic link to nothing",
        "huge.md": "more than 16 MiB",
        "latin.md": "not UTF-8 at byte 3",
        "line\\nbreak.md": "a name with unprintable characters",
        "long.md": "more than 1 MiB for a page",
        "loop.md": "a symbolic link in a circle",
        "out.md": "a symbolic link that leaves the folder",
        "pipe.md": "no regular file",
        "up": "a symbolic link to a folder; these are not followed",
    }
    assert set(pages(tmp_path)) == {"hardware.md", "inside.md", "kernels/gemm.md", "kernels/plain.markdown"}
    assert not library(tmp_path).search("truly hidden", ["wiki"]).hits


def test_what_is_no_folder_of_markdown_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "nowhere", "no such file or folder"),
        (tmp_path / "empty", "holds no Markdown"),
    ]:
        with pytest.raises(BadInput, match=message):
            take(tmp_path, path)
    source = wiki_folder(tmp_path)
    monkeypatch.setattr(folder_module, "MOST_FILES", 2)
    with pytest.raises(BadInput, match="more than 2 files"):
        read_folder(source)
    with pytest.raises(BadInput, match="cannot name a wiki"):
        take(tmp_path, tmp_path / "wiki" / "kernels", "../x")


def test_an_emptied_folder_is_no_update(tmp_path: Path) -> None:
    source = wiki_folder(tmp_path)
    take(tmp_path, source)
    source.rename(tmp_path / "moved")
    source.mkdir()
    with pytest.raises(BadInput, match="holds no Markdown"):
        take(tmp_path, source)
    assert len(pages(tmp_path)) == 3


def test_another_folder_of_the_same_name_needs_a_name(tmp_path: Path) -> None:
    take(tmp_path, wiki_folder(tmp_path / "one"))
    other = wiki_folder(tmp_path / "two")
    with pytest.raises(BadInput, match="was imported from"):
        take(tmp_path, other)
    assert take(tmp_path, other, "second").wiki is not None
    replaced = take(tmp_path, other, "wiki").wiki
    assert replaced is not None and replaced.unchanged == 3
    wikis, _ = library(tmp_path).wikis.all()
    assert [w.name for w in wikis] == ["second", "wiki"]


def test_a_damaged_manifest_and_a_lost_blob_are_named_and_the_rest_is_found(tmp_path: Path) -> None:
    take(tmp_path, wiki_folder(tmp_path))
    (wiki,), _ = library(tmp_path).wikis.all()
    assert isinstance(wiki, Wiki)
    library(tmp_path).wikis.blobs.path(wiki.pages[0].content).unlink()
    shelf = library(tmp_path)
    assert "this page is lost" in shelf.show("wiki/wiki/hardware.md").body
    assert shelf.search("swizzle tiles", ["wiki"]).hits
    (tmp_path / ".warpsmith/knowledge/wikis/other.json").write_text('{"name": 1}')
    assert any("other.json: not a wiki's manifest" in p for p in library(tmp_path).problems)


@given(st.text(max_size=400))
def test_any_text_has_a_head_and_a_body(text: str) -> None:
    head, body = split(text)
    assert body == text or text.endswith(body)
    assert all(isinstance(v, tuple) for v in head.values())


KEYS = st.from_regex(r"[a-z][a-z_\-]{0,8}", fullmatch=True)
VALUES = st.lists(st.from_regex(r"[a-z0-9 ]*[a-z0-9]", fullmatch=True), min_size=1, max_size=3)


@given(st.dictionaries(KEYS, VALUES), st.text(max_size=50))
def test_a_head_is_read_as_it_was_written(said: dict[str, list[str]], body: str) -> None:
    inline = "\n".join(f"{k}: [{', '.join(v)}]" for k, v in said.items())
    listed = "\n".join(f"{k}:\n" + "\n".join(f"- {x}" for x in v) for k, v in said.items())
    for lines in (inline, listed):
        head, rest = split(f"---\n{lines}\n---\n{body}")
        assert head == {k: tuple(x.strip() for x in v) for k, v in said.items()}
        assert rest == body


def test_a_long_hostile_page_is_read_quickly(tmp_path: Path) -> None:
    source = tmp_path / "wiki"
    source.mkdir()
    for number, piece in enumerate(("[", "[a](", "---\n", "a: " + " " * 90, "```\n", "](" * 3, "[x](y", "- ")):
        text = (piece * (LARGEST_PAGE // len(piece)))[: LARGEST_PAGE - 8]
        (source / f"{number}.md").write_text("---\n" + text)
    began = time.monotonic()
    assert take(tmp_path, source).refused == ()
    assert time.monotonic() - began < 30, "reading must not be quadratic"


def test_the_first_value_of_a_key() -> None:
    assert first({"a": ("x", "y")}, "a") == "x"
    assert first({"a": ()}, "a") == first({}, "a") == ""
