"""Every command in the documents is one that there is, and those that look do so on a running appliance."""

import pathlib
import re
import shlex
import subprocess

import pytest

from lab import ROOT, causeway_binary

PAGES = [ROOT / "README.md", *(page for place in ("docs", "perf", "appliance-config") for page in sorted((ROOT / place).rglob("*.md")))]

# What stands in the documents for what the reader has to put there, and what the lab has.
PLACEHOLDERS = {
    "NAME": "servers", "SEGMENT": "servers", "SITE": "branch", "PORT": "trunk0", "MAC": "02:00:00:00:00:01", "IP": "10.10.0.1",
    "FILE": "server.toml", "PATH": "/run/causeway/causeway.sock", "TOKEN": "token", "REASON": "runt", "WORDS...": "counters",
    "PACKETS": "1", "OCTETS": "64", "MINUTES": "1",
    "SECONDS": "1", "N": "1", "FILTER": "arp", "ADDRESS": "10.10.0.1", "HOST:PORT": "localhost:1",
}

# Words that end a command on the page, and do not belong to it.
AFTER = re.compile(r"\s(#|\||>|<|&&|;|\\)(\s|$)")

# These only look, so they are done as they stand. What has a placeholder is a form, which is checked but not done.
LOOKS = ("show",)


def commands():
    """(page, line number, command) of every `causeway ...` in the documents, once each."""
    found = {}
    for page in PAGES:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            inline = re.findall(r"`(?:sudo )?(causeway [^`]+)`", line)
            block = re.findall(r"^\s*(?:[#$] |sudo )?(causeway [a-z].*)$", line)
            for command in inline + block:
                command = AFTER.split(command + " ", maxsplit=1)[0].strip()
                found.setdefault(command, (page.relative_to(ROOT), number))
    assert len(found) > 20, "found the commands"
    return [(page, number, command) for command, (page, number) in found.items()]


def words_of(command):
    """The words of a command, without the brackets of what may be left out, and with something in each place."""
    plain = re.sub(r"\[([^\[\]]*)\]", r"\1", re.sub(r"\[([^\[\]]*)\]", r"\1", command))
    words = [word.split("|")[0] for word in shlex.split(plain.replace(" | ", "|"))][1:]
    # Dots are what was said before: one word behind an option, else any number.
    kept = [word for before, word in zip(["", *words], words) if word != "..." or before.startswith("-")]
    return [PLACEHOLDERS.get(word, word) for word in kept]


def is_form(command):
    return bool(re.search(r"[\[\]|]|\b[A-Z]{2,}\b|\.\.\.", command))


ALL = commands()


@pytest.mark.parametrize("page, number, command", ALL, ids=[f"{page}:{number}" for page, number, _ in ALL])
def test_a_command_of_the_documents_is_one_of_the_program(page, number, command):
    """`--help` at the end: the words are understood up to there, and nothing is done."""
    done = subprocess.run([causeway_binary(), *words_of(command), "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"{page}:{number}: {command}\n{done.stderr}"


LOOKING = [row for row in ALL if row[2].split()[1] in LOOKS and not is_form(row[2]) and len(row[2].split()) > 2]


@pytest.mark.parametrize("page, number, command", LOOKING, ids=[f"{page}:{number}" for page, number, _ in LOOKING])
def test_what_the_documents_say_to_look_at_is_there(lab, page, number, command):
    words = words_of(command) + ["--socket", str(lab.a.socket)]
    done = subprocess.run([causeway_binary(), *words], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stdout.strip(), f"{page}:{number}: {command}\n{done.stderr}"


def test_what_dev_is_asked_for_in_the_documents_it_does():
    known = set(re.findall(r"^    ([a-z-]+)\)$", (ROOT / "dev").read_text(), re.MULTILINE))
    asked = {word for page in PAGES for word in re.findall(r"\./dev ([a-z-]+)", page.read_text())}
    assert asked and asked <= known, asked - known


def test_links_between_the_documents_lead_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, broken


def test_what_a_reload_refuses_is_in_the_documents():
    text = (ROOT / "crates/control/src/reload.rs").read_text()
    keys = re.findall(r'\("system\.(\w+)", a', text)
    page = (ROOT / "docs/tasks/change-a-running-appliance.md").read_text()
    refused = "".join(line for line in page.splitlines() if "refused by name" in line)
    assert len(keys) > 8 and not [key for key in keys if f"`{key}`" not in refused], keys


def test_every_page_is_listed_where_its_kind_is():
    for directory in ("tasks", "decisions"):
        index = (ROOT / "docs" / directory / "README.md").read_text()
        missing = [page.name for page in sorted((ROOT / "docs" / directory).glob("*.md"))
                   if page.name != "README.md" and f"({page.name})" not in index]
        assert not missing, f"docs/{directory}/README.md does not name {missing}"


def test_every_example_is_named_in_the_documents():
    text = "".join(page.read_text() for page in PAGES)
    missing = [path.name for path in pathlib.Path(ROOT / "appliance-config").glob("*.toml") if path.name not in text]
    assert not missing, missing
