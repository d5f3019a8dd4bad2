"""Estimates the energy of stages from what they used and the power of this machine's parts.

A model of constant power, as codecarbon's own where it tracks a process and can read no meter: a
busy core draws its part of the processors' thermal design power (TDP), memory its part of what the
slots draw, and an accelerator that is held its power limit. What idles is charged to nobody, and
neither are disks, fans and losses. Methods: https://docs.codecarbon.io/latest/explanation/methodology/

codecarbon is asked once on a machine, which takes about a second; its answer is kept in the folder
of downloads. Nothing is ever sent or fetched.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

from cluster.machine import machine_facts
from cluster.usage import Usage
from orchestrator.planning.regions import regions
from orchestrator.planning.trial import TrialUsage
from orchestrator.running.outcome import StageOutcome
from pipelines.contract import digest_of
from pipelines.sources.cache import cache_folder

J_PER_KWH = 3.6e6

GENERIC_CPU_W = 85
"""`codecarbon.external.hardware.POWER_CONSTANT`: a processor of which nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Power:
    """What the parts of a machine draw while they work, in watts."""

    core_w: float
    """One logical core: the TDP of all processors over the cores of the machine."""
    memory_w_per_gib: float
    """One GiB of memory that is held."""
    gpu_w: float = 0.0
    """One accelerator: its power limit, or 0 without one."""

    def energy_kwh(self, usage: Usage, duration_s: float) -> float:
        """Return the energy of a piece of work.

        Args:
            usage: What it used.
            duration_s: Seconds on the clock for which it held its memory.
        """
        joules = (
            self.core_w * usage.cpu_s
            + self.memory_w_per_gib * usage.peak_memory_gib * duration_s
            + self.gpu_w * (usage.gpu_s or 0.0)
        )
        return joules / J_PER_KWH


def accounted(usage: Usage, duration_s: float, num_gpus: float, power: Power | None) -> Usage:
    """Return what was measured of a stage, with its accelerator's seconds and its energy.

    Args:
        usage: What its process measured.
        duration_s: Seconds on the clock.
        num_gpus: Accelerators that the process holds, a part of one as a fraction.
        power: None where no energy is to be told.
    """
    if num_gpus:
        usage = replace(usage, gpu_s=num_gpus * duration_s)
    return replace(usage, energy_kwh=power.energy_kwh(usage, duration_s)) if power else usage


def trial_usage(
    own: Sequence[StageOutcome], stages: Iterable[StageOutcome], region: str | None
) -> TrialUsage | None:
    """Return what a trial used, or None where nothing was measured.

    Args:
        own: The outcomes of its own stages.
        stages: Those of all stages on which it rests.
        region: The country whose electricity it used, or None.
    """
    used = [o.usage for o in own if o.usage]
    peaks = [o.usage for o in stages if o.usage]
    if not used:
        return None
    energy_kwh = total(usage.energy_kwh for usage in used)
    return TrialUsage(
        cpu_s=total(usage.cpu_s for usage in used),
        gpu_s=total(usage.gpu_s for usage in used),
        peak_memory_gib=largest(usage.peak_memory_gib for usage in peaks),
        peak_gpu_memory_gib=largest(usage.peak_gpu_memory_gib for usage in peaks),
        energy_kwh=energy_kwh,
        emissions_kg=emissions_kg(energy_kwh, region),
    )


def emissions_kg(energy_kwh: float | None, region: str | None) -> float | None:
    """Return the CO2 equivalent of energy in kilograms, or None where either is not known."""
    if energy_kwh is None or region is None:
        return None
    return energy_kwh * regions()[region].kg_per_kwh


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known, or None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def largest(values: Iterable[float | None]) -> float | None:
    """Return the largest of what is known, or None where nothing is."""
    return max((value for value in values if value is not None), default=None)


@cache
def machine_power() -> Power:
    """Return the power of this machine's parts, from the folder of downloads if it is there."""
    facts = {**machine_facts(), "codecarbon": version("codecarbon")}
    path = cache_folder() / "power" / f"{digest_of(facts)[:16]}.json"
    try:
        return Power(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        power = _ask_codecarbon(facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{id(power)}.part")
        aside.write_text(json.dumps(asdict(power)), encoding="utf-8")
        aside.replace(path)
    except OSError:
        pass  # the next command asks again
    return power


def _ask_codecarbon(facts: dict[str, Any]) -> Power:
    """Return what codecarbon says of this machine; it looks at the machine and its own tables."""
    with _silent("codecarbon"):
        from codecarbon.core.cpu import TDP  # noqa: PLC0415 - takes a second
        from codecarbon.core.util import count_cpus, count_physical_cpus  # noqa: PLC0415
        from codecarbon.external.ram import RAM  # noqa: PLC0415

        tdp_w = TDP().tdp or GENERIC_CPU_W
        memory = RAM(tracking_mode="machine")
        return Power(
            core_w=tdp_w * count_physical_cpus() / count_cpus(),
            memory_w_per_gib=memory.total_power().W / memory.machine_memory_GB,
            gpu_w=_gpu_w() if facts["gpus"] else 0.0,
        )


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a library's logger from writing, also while the library sets it up."""
    logger = logging.getLogger(name)
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _gpu_w() -> float:
    """Return the power limit of the first accelerator in watts, or 0 where it tells none."""
    from codecarbon.core.gpu import AllGPUDevices  # noqa: PLC0415 - looks for devices

    devices = AllGPUDevices().get_gpu_static_info()
    return float(next((device["power_limit"] or 0.0 for device in devices), 0.0))
