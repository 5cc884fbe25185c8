"""What Apertium's packages can do: one file for each pair of languages and direction."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

# names like `spa-eng` or `fr-es`; what has more parts is a variant, as `spa-eng_US`
_MODE: Final = re.compile(r"^([a-z]{2,3})-([a-z]{2,3})$")
_ISO_639_1: Final = {
    "afr": "af",
    "arg": "an",
    "bel": "be",
    "bul": "bg",
    "cat": "ca",
    "dan": "da",
    "eng": "en",
    "epo": "eo",
    "eus": "eu",
    "fra": "fr",
    "glg": "gl",
    "hbs": "sh",
    "hin": "hi",
    "ind": "id",
    "isl": "is",
    "ita": "it",
    "mkd": "mk",
    "nld": "nl",
    "nno": "nn",
    "nob": "nb",
    "oci": "oc",
    "pol": "pl",
    "por": "pt",
    "ron": "ro",
    "rus": "ru",
    "slv": "sl",
    "spa": "es",
    "srd": "sc",
    "swe": "sv",
    "ukr": "uk",
    "urd": "ur",
    "zlm": "ms",
}  # packages of one release name the same language either way


class Mode(Struct, frozen=True):
    """How one language becomes another: programs, each reading what the one before it wrote."""

    name: str
    source: str
    target: str
    commands: Sequence[Sequence[str]]


def plain(language: str) -> str:
    """A language's code in ISO 639-1, where it has one, without its script: `fr` of `fra_Latn`."""
    code = language.partition("_")[0]
    return _ISO_639_1.get(code, code)


def find_modes(root: Path) -> Sequence[Mode]:
    """The modes of the packages that lie below a folder, by name; none where there are none."""
    files = sorted((root / "usr/share/apertium/modes").glob("*.mode"))
    modes = []
    for file in files:
        if found := _MODE.match(file.stem):
            source, target = map(plain, found.groups())
            modes.append(Mode(file.stem, source, target, _commands(file.read_text(), root)))
    return modes


def _commands(text: str, root: Path) -> Sequence[Sequence[str]]:
    """The programs of a mode's file, which is a pipeline for a shell.

    `$1` is how words are written: `-n`, without marks at those that are not known. `$2` is
    for showing what the tagger thinks. `-z`: each text ends with a NUL, and is answered then.
    """
    plain = text.replace("$1", "-n").replace("$2", "")
    commands = []
    for command in plain.split("|"):
        program, *arguments = shlex.split(command)
        files = [str(root / one[1:]) if one.startswith("/") else one for one in arguments]
        commands.append([str(root / "usr/bin" / program), "-z", *files])
    return commands
