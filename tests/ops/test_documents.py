"""Documents that would go stale unseen."""

import re

from redpen.env import REPOSITORY

REQUIREMENTS = (REPOSITORY / "requirements.txt").read_text()


def package(line: str) -> str:
    return re.split(r"[\[=; ]", line)[0].lower().replace("_", "-")


def test_every_package_that_we_chose_has_its_reason():
    chosen = REQUIREMENTS.split("# what those above bring along")[0]
    chosen += (REPOSITORY / "requirements-dev.txt").read_text()
    reasons = (REPOSITORY / "docs" / "dependencies.md").read_text().lower().replace("_", "-")
    names = {package(line) for line in chosen.splitlines() if line and not line.startswith("#")}
    assert {name for name in names if name not in reasons} == {"psycopg-binary"}  # the wheel of psycopg


def test_every_requirement_is_pinned():
    lines = [line for line in REQUIREMENTS.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.match(r"^[\w\[\],.-]+==[\w.]+", line)] == []


def test_no_file_names_an_index_of_packages():
    """Where wheels come from is the machine's business (pip's own settings, the make variable TORCH)."""
    for name in (
        "Makefile",
        "requirements.txt",
        "requirements-dev.txt",
        "docker/Dockerfile",
        ".ci/run",
        ".ci/chromium",
    ):
        assert not re.search(r"https?://(?!127\.0\.0\.1)", (REPOSITORY / name).read_text()), name


def test_links_between_documents_lead_somewhere():
    for document in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_make_lists_every_target_with_a_sentence():
    makefile = (REPOSITORY / "Makefile").read_text()
    phony = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE)) - {"help"}
    described = set(re.findall(r"^([a-z0-9-]+):.*## .+", makefile, re.MULTILINE))
    assert phony == described
    assert {"run", "test", "test-all", "test-faults-full", "lint", "backup", "clean"} <= described
    benches = set(re.search(r"^BENCHES := (.*)$", makefile, re.MULTILINE)[1].split())
    assert {f"bench-{name}" for name in benches} <= described
