"""What a kilowatt-hour of electricity emits by country, as codecarbon's table has it; no network.

codecarbon itself is not imported: that takes a second, and the table is a file.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestrator.errors import nearest_name

_TABLE = "data/private_infra/global_energy_mix.json"


@dataclass(frozen=True)
class Region:
    """A country of codecarbon's table."""

    name: str
    kg_per_kwh: float
    """Kilograms of CO2 equivalent for a kilowatt-hour of its electricity."""


@cache
def regions() -> Mapping[str, Region]:
    """Return the countries by ISO 3166-1 alpha-3 code.

    Source: `codecarbon.core.emissions.Emissions.get_country_emissions` uses this number too.
    """
    found = importlib.util.find_spec("codecarbon")
    assert found is not None and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0], _TABLE)
    table = json.loads(path.read_text(encoding="utf-8"))
    return {
        code: Region(row["country_name"], row["carbon_intensity"] / 1000)
        for code, row in table.items()
        if row.get("carbon_intensity") is not None
    }


def nearest_region(given: str) -> str:
    """Return the code that was probably meant: by its letters, or by the country's name."""
    codes = {region.name.casefold(): code for code, region in regions().items()}
    by_name = codes.get(nearest_name(given.casefold(), codes), "")
    by_code = nearest_name(given.upper(), regions())
    return (by_code or by_name) if len(given) <= 4 else (by_name or by_code)
