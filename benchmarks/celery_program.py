"""Celery's application in the comparison of queues: `celery --app benchmarks.celery_program worker`.

Its workers load what ours load: a job of a Django project needs that. The broker stands in `BROKER_URL`.
"""

import os
import sys

sys.path.append(os.environ.get("CELERY_FOLDER", ""))  # Celery is no dependency of the project

import celery
import django

from benchmarks import notes

app = celery.Celery("benchmarks", broker=os.environ.get("BROKER_URL"))
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
note = app.task(notes.note)
hold = app.task(notes.hold)

if "celery" in sys.argv[0]:
    django.setup()
