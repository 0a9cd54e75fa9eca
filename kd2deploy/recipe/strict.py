"""How strictly a recipe's fields are read."""

import pydantic

STRICT = pydantic.ConfigDict(
    extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False, ser_json_inf_nan="constants"
)
