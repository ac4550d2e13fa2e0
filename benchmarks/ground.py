"""Where the queues are tried: a private Valkey and database, and what workers are started with. Loads Django."""

from benchmarks import database, environment

DATABASE = database.NAME
FOLDER = environment.folder
VALKEY = environment.valkey

# Workers know the job functions of the benchmarks, and say what they have to say to a file.
WORKERS = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings", "AI_WORKERS_BALANCE": "0", "WORKERS_DRAIN_SECONDS": "60"}
