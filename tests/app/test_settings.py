"""Settings that cannot work are refused at the start, not in the middle of a sweep."""

import pytest
from pydantic import ValidationError

from app.settings import Settings

FLOATS = sorted(name for name, field in Settings.model_fields.items() if field.annotation in (float, float | None))


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "-1"])
@pytest.mark.parametrize("name", FLOATS)
def test_no_time_lies_beyond_the_calendar(name: str, value: str):
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_there_are_such_settings():
    assert {"purge_days", "adapter_days", "lease_seconds", "idempotency_hours"} <= set(FLOATS)
