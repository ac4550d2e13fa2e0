"""What every driver must do. Each function is a case; its name is the row of the table."""

from tests.models_registry.contract import replies, sending, troubles
from tests.models_registry.contract.asking import REGISTERED, Case

CASES: dict[str, Case] = {
    case.__name__: case
    for module in (replies, troubles, sending)
    for case in REGISTERED
    if case.__module__ == module.__name__
}
