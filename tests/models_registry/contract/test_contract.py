"""Every driver does every case; what does not apply to one is skipped with the reason. The table ends the run."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.models_registry.conftest import KEY
from tests.models_registry.contract.cases import CASES
from tests.models_registry.contract.conftest import DRIVERS


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wire", DRIVERS, indirect=True)
def test_contract(
    wire: Any,
    case: str,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("row", list(CASES).index(case))
    if reason := wire.absent.get(case):
        pytest.skip(reason)
    settings.BACKEND_REPLY_MAX_BYTES = 2_000_000
    with caplog.at_level("DEBUG"):
        CASES[case](wire)
    assert KEY not in caplog.text
