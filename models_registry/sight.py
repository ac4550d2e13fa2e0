"""Who sees which pulls: a user those that they started, an operator every one."""

from django.contrib.auth.models import User
from django.db.models import QuerySet

from models_registry.models import Pull

VIEW = "models_registry.view_pull"
PULL = "models_registry.add_pull"
CANCEL = "models_registry.change_pull"


def sees_all(user: User) -> bool:
    return user.is_staff and user.has_perm(VIEW)


def visible(user: User) -> QuerySet[Pull]:
    return Pull.objects.all() if sees_all(user) else Pull.objects.filter(created_by=user)
