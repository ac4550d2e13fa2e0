"""Nothing that comes out of Redis is ever unpickled."""

from rq.serializers import DefaultSerializer, JSONSerializer


def refuse_pickle() -> None:
    """Make JSON the serializer wherever RQ falls back to its default, which is pickle.

    RQ's cron, groups and several django-rq pages ignore the configured serializer. Unpickling lets whoever can write
    to Redis run code, so the fallback itself is replaced.
    """
    DefaultSerializer.dumps = staticmethod(JSONSerializer.dumps)
    DefaultSerializer.loads = staticmethod(JSONSerializer.loads)
