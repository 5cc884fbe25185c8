"""Runs Python scripts one after the other, each as if it were alone.

Standard input is a JSON list of ``{"text", "environment"}``, standard output one of
``{"failed", "output"}``.
"""

import json
import os
import sys
import traceback
from contextlib import redirect_stdout
from io import StringIO

results = []
for job in json.load(sys.stdin):
    os.environ.update(job["environment"])
    output, failed = StringIO(), ""
    with redirect_stdout(output):
        try:
            exec(compile(job["text"], "example.py", "exec"), {"__name__": "__main__"})
        except BaseException:  # noqa: BLE001 - whatever an example does is what is to be told
            failed = traceback.format_exc()
    results.append({"failed": failed, "output": output.getvalue()})
json.dump(results, sys.stdout)
