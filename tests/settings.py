"""The project's settings on temporary folders and a Valkey of the tests' own; never touches `var/`."""

import os
import sys

from tests import services

valkey = services.start()
os.environ["DATA_DIR"] = str(valkey.folder / "data")
os.environ["REDIS_URL"] = valkey.url
os.environ["SECRET_KEY"] = "not-a-secret-used-by-tests-only"
for name in ("DATABASE_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "EMBEDDED_MODEL_URL", "QUEUE_CONNECTION"):
    os.environ.pop(name, None)
os.environ["FAKE_BACKEND"] = "1"
os.environ["TITLES"] = "off"  # tests of titles switch them on: elsewhere they would be jobs too many
os.environ["DEFAULT_BACKEND"] = "fake"
if os.environ.get("TEST_DATABASE") == "postgresql" and (programs := services.postgres_folder()):
    os.environ["DATABASE_URL"] = services.start_postgres(programs).url

from chinese_worker.settings import *  # noqa: E402, F403
from chinese_worker.settings import DATABASES, STATIC_ROOT, STORAGES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns where it is missing
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, not memory: workers, threads and the ASGI server are other connections to the same database.
    DATABASES["default"]["TEST"] = {"NAME": str(valkey.folder / f"test-{os.getpid()}.sqlite3")}
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 0  # a thread that stays would hold the database that is to be dropped
sys.modules["tests.settings"].valkey = valkey  # type: ignore[attr-defined]
