"""Runs every example of the pages that an edge serves, as pasted."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import httpx
from msgspec import Struct

from edge.documentation.variables import VARIABLES
from tests.examples.page import Page, Snippet, read_page
from tests.examples.recorder import Passed, Recorder
from tests.node import Program
from tests.waiting import PATIENCE_S

FOLDER = Path(__file__).parent
INTERPRETER = [sys.executable, str(FOLDER / "interpreter.py")]

Environment = Mapping[str, str]


class Ran(Struct, frozen=True, kw_only=True):
    """An example that was run, and what passed while it was."""

    snippet: Snippet
    failed: str  # what it said, if it failed
    output: str
    passed: Sequence[Passed]


class Job(Struct, frozen=True):
    snippet: Snippet
    environment: Environment


def node() -> Program:
    return Program(
        FOLDER / "node",
        "examples",
        script="run.js",
        advice="let pip and npm reach their registries once",
    )


class Reader:
    """Somebody who pastes what the pages say.

    Args:
        url: Of an edge.
        admin_token: Of its operator.
        recorder: Through which all of it passes.
        folder: Where the reader is; `.tollgate` in it is what `tollgate up` left there.
        own: What stands in for what pages ask their reader to put in.
    """

    def __init__(
        self,
        url: str,
        admin_token: str,
        recorder: Recorder,
        folder: Path,
        own: Environment | None = None,
    ) -> None:
        self._url = url
        self._admin_token = admin_token
        self._recorder = recorder
        self._folder = folder
        self._own = own or {}

    async def pages(self, names: Iterable[str]) -> list[Page]:
        async with httpx.AsyncClient(base_url=self._url, timeout=PATIENCE_S) as client:
            found = []
            for name in names:
                answer = await client.get(f"/docs/{name}")
                assert answer.status_code == 200, (name, answer.text)
                found.append(read_page(name, answer.text))
        return found

    async def run(self, pages: Sequence[Page]) -> list[Ran]:
        """Run all examples of these pages; each page has an account of its own."""
        by_name = {page.name: page for page in pages}
        jobs: dict[str, list[Job]] = {"curl": [], "Python": [], "JavaScript": []}
        environments = await asyncio.gather(*(self._prepare(page, by_name) for page in pages))
        for page, environment in zip(pages, environments, strict=True):
            for snippet in page.snippets:
                url = {"TOLLGATE_URL": self._recorder.url(snippet.label)}
                jobs[snippet.language].append(Job(snippet, {**environment, **url}))
        program = node()
        await asyncio.to_thread(program.install)
        ran = await asyncio.gather(
            self._by_shell(jobs["curl"]),
            self._by_process(INTERPRETER, jobs["Python"]),
            self._by_process(program.argv(), jobs["JavaScript"]),
        )
        return [one for several in ran for one in several]

    async def _prepare(self, page: Page, others: Mapping[str, Page]) -> Environment:
        """What is in a reader's environment who has done what the page says first."""
        environment = {
            **await self._account(),
            **self._own,
            "TOLLGATE_URL": self._recorder.url("before"),
        }
        own = tuple(f"export {name}=" for name, known in VARIABLES.items() if known.own)
        lines = [line for line in page.before.splitlines() if not line.startswith(own)]
        script = "\n".join(["set -e", *lines, "env -0"])
        failed, output = await self._shell(script, environment)
        assert not failed, (page.name, failed)
        set_now = dict(item.split("=", 1) for item in output.split("\0") if item)
        environment |= {name: set_now[name] for name in VARIABLES if name in set_now}
        if page.after:
            first = others[page.after].snippets[0]
            failed, output = await self._shell(first.text, environment)
            assert not failed, (page.name, page.after, failed, output)
        return environment

    async def _account(self) -> Environment:
        """A new account's key."""
        headers = {"Authorization": f"Bearer {self._admin_token}"}
        async with httpx.AsyncClient(
            base_url=self._url, headers=headers, timeout=PATIENCE_S
        ) as client:
            account = (await client.post("/v1/admin/accounts", json={"name": "Reader"})).json()
            key = await client.post(f"/v1/admin/accounts/{account['id']}/keys", json={})
        return {"TOLLGATE_KEY": key.json()["api_key"]}

    async def _by_shell(self, jobs: Sequence[Job]) -> list[Ran]:
        return [
            self._ran(job.snippet, *await self._shell(job.snippet.text, job.environment))
            for job in jobs
        ]

    async def _shell(self, script: str, environment: Environment) -> tuple[str, str]:
        """What it says if it fails, and what it prints."""
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            script,
            cwd=self._folder,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        failed = f"exit status {process.returncode}: {errors.decode()}"
        return failed if process.returncode else "", output.decode()

    async def _by_process(self, argv: Sequence[str], jobs: Sequence[Job]) -> list[Ran]:
        """All of them in one process, which starts slowly."""
        asked = [{"text": job.snippet.text, "environment": job.environment} for job in jobs]
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=self._folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(
            process.communicate(json.dumps(asked).encode()), 2 * PATIENCE_S
        )
        assert process.returncode == 0, errors.decode()
        results: list[dict[str, str]] = json.loads(output)
        return [self._ran(job.snippet, **result) for job, result in zip(jobs, results, strict=True)]

    def _ran(self, snippet: Snippet, failed: str, output: str) -> Ran:
        passed = self._recorder.of(snippet.label)
        return Ran(snippet=snippet, failed=failed, output=output, passed=passed)
