"""Signing up and signing in with an e-mail address. Neither tells whether an account exists."""

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from maintenance.errors import Invalid, Refusal

WRONG = "These credentials are not right."


def authenticate(email: str, password: str) -> User:
    """The active user with this address, in any case, and this password. Raises Invalid."""
    candidates = list(User.objects.filter(email__iexact=email.strip(), is_active=True).order_by("pk")[:5])
    for user in candidates:
        if user.check_password(password):
            return user
    if not candidates:
        # As much work as for an account that exists: time must not tell either.
        make_password(password)
    raise Invalid(WRONG, code="invalid_credentials", errors={"email": [WRONG]})


def require_open_registration() -> None:
    """Raises Refusal where the operator has not opened registration."""
    if not settings.REGISTRATION_OPEN:
        raise Refusal("Registration is closed on this server.", code="registration_closed", status_code=403)


def register(name: str, email: str, password: str) -> User:
    """A new user. Raises Invalid for a weak password or a taken address."""
    user = User(username=email.strip().lower(), email=email.strip(), first_name=name)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid("The password is too weak.", errors={"password": error.messages}) from error
    user.set_password(password)
    if User.objects.filter(email__iexact=user.email).exists():
        raise _not_accepted()
    try:
        with transaction.atomic():
            user.save()
    except IntegrityError as error:
        raise _not_accepted() from error
    return user


def _not_accepted() -> Invalid:
    return Invalid("This registration was not accepted.", code="registration_refused")
