"""One request as a line of shell, as Python and as JavaScript, ready to be pasted.

A variable of `variables.py` is taken from the environment in all three.
"""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from edge.documentation.variables import NAME, VARIABLES

WIDTH: Final = 88
TIMEOUT_S: Final = 300  # without a byte; `requests` would wait for ever, and fetch waits as long
_PLAIN: Final = re.compile(r"[\w\s:/?&=.,%+;-]*")  # means itself between double quotes


class Request(Struct, frozen=True, kw_only=True):
    """What is sent. Texts may name variables."""

    method: str
    url: str  # with its query, percent-encoded
    headers: Mapping[str, str]
    body: Any = None  # a text goes as it is, anything else as JSON
    answer: str = "json"  # or "text", or "stream"


def curl(request: Request) -> str:
    """A command for a POSIX shell; its status is 22 where the answer is an error."""
    said = ["curl --fail-with-body" if request.answer != "stream" else "curl -N --fail-with-body"]
    usual = "GET" if request.body is None else "POST"
    if request.method != usual:
        said[0] += f" -X {request.method}"
    said[0] += f" {_shell(request.url)}"
    said += [f"-H {_shell(f'{name}: {value}')}" for name, value in request.headers.items()]
    if request.body is not None:
        body = request.body
        text = body if isinstance(body, str) else _literal(body, 0, _JSON, width=WIDTH)
        said.append(f"-d {_shell(text)}")
    return " \\\n  ".join(said)


def python(request: Request) -> str:
    """A script for Python with the package `requests`; an error raises."""
    arguments = [_python(request.url)]
    if request.headers:
        arguments.append(f"headers={_literal(request.headers, 4, _PYTHON)}")
    if isinstance(request.body, str):
        arguments.append(f"data={_python(request.body)}")
    elif request.body is not None:
        arguments.append(f"json={_literal(request.body, 4, _PYTHON)}")
    arguments += ["stream=True"] if request.answer == "stream" else []
    arguments.append(f"timeout={TIMEOUT_S}")
    calls = "".join(f"    {argument},\n" for argument in arguments)
    call = f"requests.{request.method.lower()}(\n{calls})"
    imports = "import json\nimport os\n" if request.answer == "json" else "import os\n"
    imports += "\nimport requests\n\n"
    if request.answer == "stream":
        return (
            f"{imports}with {call} as response:\n"
            "    response.raise_for_status()\n"
            "    for line in response.iter_lines():\n"
            "        print(line.decode())"
        )
    shown = "response.text"
    if request.answer == "json":
        shown = "json.dumps(response.json(), indent=2, ensure_ascii=False)"
    return f"{imports}response = {call}\nresponse.raise_for_status()\nprint({shown})"


def javascript(request: Request) -> str:
    """A module for Node.js 18 or later; an error is thrown."""
    options = [f'  method: "{request.method}",\n'] if request.method != "GET" else []
    if request.headers:
        options.append(f"  headers: {_literal(request.headers, 2, _JAVASCRIPT)},\n")
    if isinstance(request.body, str):
        options.append(f"  body: {_javascript(request.body)},\n")
    elif request.body is not None:
        options.append(f"  body: JSON.stringify({_literal(request.body, 2, _JAVASCRIPT)}),\n")
    given = f", {{\n{''.join(options)}}}" if options else ""
    lines = [
        f"const response = await fetch({_javascript(request.url)}{given});",
        "if (!response.ok) throw new Error(await response.text());",
    ]
    match request.answer:
        case "stream":
            lines += [
                "const pieces = response.body.pipeThrough(new TextDecoderStream());",
                "for await (const piece of pieces) process.stdout.write(piece);",
            ]
        case "json":
            lines.append("console.log(JSON.stringify(await response.json(), null, 2));")
        case _:
            lines.append("console.log(await response.text());")
    return "\n".join(lines)


# --- texts in each language ---------------------------------------------------------


def _parts(text: str) -> list[tuple[str, str]]:
    """A text as pieces, each followed by the variable that comes next, or by nothing."""
    found, start = [], 0
    for match in NAME.finditer(text):
        if match[1] in VARIABLES:
            found.append((text[start : match.start()], match[1]))
            start = match.end()
    return [*found, (text[start:], "")]


def _shell(text: str) -> str:
    parts = _parts(text)
    if len(parts) == 1:
        return shlex.quote(text)
    if all(_PLAIN.fullmatch(piece) for piece, _ in parts):
        return f'"{text}"'
    return "".join(
        (shlex.quote(piece) if piece else "") + (f'"${name}"' if name else "")
        for piece, name in parts
    )


def _python(text: str) -> str:
    parts = _parts(text)
    if len(parts) == 1:
        return _quoted(text)
    if parts[0][0] == parts[1][0] == "" and len(parts) == 2:  # noqa: PLR2004 - it, and nothing more
        return f'os.environ["{parts[0][1]}"]'
    return (
        'f"'
        + "".join(
            _quoted(piece)[1:-1].replace("{", "{{").replace("}", "}}")
            + (f"{{os.environ['{name}']}}" if name else "")
            for piece, name in parts
        )
        + '"'
    )


def _javascript(text: str) -> str:
    parts = _parts(text)
    if len(parts) == 1:
        return _quoted(text)
    if parts[0][0] == parts[1][0] == "" and len(parts) == 2:  # noqa: PLR2004 - as above
        return f"process.env.{parts[0][1]}"
    return (
        "`"
        + "".join(
            _quoted(piece)[1:-1].replace('\\"', '"').replace("`", "\\`").replace("${", "\\${")
            + (f"${{process.env.{name}}}" if name else "")
            for piece, name in parts
        )
        + "`"
    )


def _quoted(text: str) -> str:
    """A text as JSON; Python and JavaScript read it alike."""
    return json.dumps(text, ensure_ascii=False)


# --- values in each language --------------------------------------------------------


class _Language(Struct, frozen=True):
    words: Mapping[Any, str]  # of None, True and False
    text: Any
    indent: int
    bare_names: bool = False  # and spaces within braces
    trailing: str = ","


_JSON: Final = _Language({None: "null", True: "true", False: "false"}, _quoted, 2, trailing="")
_PYTHON: Final = _Language({None: "None", True: "True", False: "False"}, _python, 4)
_JAVASCRIPT: Final = _Language(_JSON.words, _javascript, 2, bare_names=True)


def _literal(value: Any, at: int, language: _Language, *, width: int = WIDTH) -> str:  # noqa: ANN401 - JSON
    """A JSON value, on one line where that is short enough.

    Args:
        value: What `json` reads and writes.
        at: The column at which its line begins.
        language: How it is written there.
        width: Of a line.
    """
    if value is None or isinstance(value, bool):
        return language.words[value]
    if isinstance(value, str):
        return str(language.text(value))
    if not isinstance(value, Mapping | list):
        return json.dumps(value)
    inner = at + language.indent
    if isinstance(value, Mapping):
        opening, closing = "{", "}"
        items = [
            f"{_name(name, language)}: {_literal(item, inner, language, width=width)}"
            for name, item in value.items()
        ]
    else:
        opening, closing = "[", "]"
        items = [_literal(item, inner, language, width=width) for item in value]
    space = " " if opening == "{" and items and language.bare_names else ""
    line = opening + space + ", ".join(items) + space + closing
    if "\n" not in line and at + len(line) <= width:
        return line
    rows = f",\n{' ' * inner}".join(items)
    return f"{opening}\n{' ' * inner}{rows}{language.trailing}\n{' ' * at}{closing}"


def _name(name: str, language: _Language) -> str:
    bare = language.bare_names and re.fullmatch(r"[A-Za-z_]\w*", name)
    return name if bare else _quoted(name)
