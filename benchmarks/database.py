"""PostgreSQL for the benchmarks of the queues, where the command line says `--postgres`: a cluster for this run alone.

To be imported before the settings are loaded.
"""

import os
import sys

from tests import services

NAME = "PostgreSQL" if "--postgres" in sys.argv else "SQLite"


def _start() -> list[int]:
    programs = services.postgres_folder()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed.")
    server = services.start_postgres(programs)
    os.environ["DATABASE_URL"] = server.url
    return [int((server.folder / "data" / "postmaster.pid").read_text().split()[0])]


# The server's process, where there is one.
PROCESSES = _start() if NAME == "PostgreSQL" else []
