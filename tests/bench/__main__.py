"""`make bench`: every table."""

import asyncio

from tests.bench import wrk
from tests.bench.fold import measure_fold
from tests.bench.road import measure_road

wrk.install()
asyncio.run(measure_fold())
asyncio.run(measure_road())
