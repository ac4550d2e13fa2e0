"""PostgreSQL for the benchmarks of the queues, where the command line says `--postgres`: a cluster for this run alone.

To be imported before the settings are loaded.
"""

import os
import sys

from tests import services

NAME = "PostgreSQL" if "--postgres" in sys.argv else "SQLite"


def _start() -> None:
    programs = services.postgres_folder()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed.")
    os.environ["DATABASE_URL"] = services.start_postgres(programs).url


if NAME == "PostgreSQL":
    _start()
