"""What a sweep took and what sharing saved: sums, energy, emissions, and how they are told."""

import json
import logging
import socket
from dataclasses import replace
from importlib import import_module

import pytest

from cluster.usage import Usage
from orchestrator import InvalidSweepError, plan, report, run
from orchestrator.cli.report_end import show_accounts
from orchestrator.planning.regions import nearest_region, regions
from orchestrator.running.accounts import accounts, runs
from orchestrator.running.journal import Event, read_journal
from orchestrator.running.power import J_PER_KWH, Power, accounted, machine_power
from orchestrator.running.workspace import open_sweep
from tests.cli import fanflare, sweep_file
from tests.test_docs import check_json
from tests.toy_cohorts import COHORT, sweep_of

__all__ = ["fanflare"]  # the fixture


def records(sweep, stage=""):
    """Return the records of all stages of a sweep whose names end like this."""
    workspace = open_sweep(sweep)
    found = workspace.store.find(workspace.nodes)
    return [r for d, r in found.items() if workspace.nodes[d].stage.name.endswith(stage)]


# Energy


def test_energy_follows_from_what_was_used_and_the_power_of_the_machine(toy, backend):
    sweep = toy.sweep({"value": [1, 2], "busy_s": 0.1}, energy={"region": "DEU"})
    made = run(sweep, backend=backend)
    power = machine_power()
    assert power.core_w > 0
    assert power.memory_w_per_gib > 0
    for record in records(sweep):
        used = record.usage
        joules = power.core_w * used.cpu_s
        joules += power.memory_w_per_gib * used.peak_memory_gib * record.duration_s
        assert used.energy_kwh == pytest.approx(joules / 3.6e6)
    (shared,) = records(sweep, "prepare")
    for result in made.results:
        used = {r.digest: r.usage for r in records(sweep) if r.digest in result.trial.stages}
        assert result.usage.peak_memory_gib == max(u.peak_memory_gib for u in used.values())
        del used[shared.digest]  # which both trials needed
        energy_kwh = sum(usage.energy_kwh for usage in used.values())
        assert result.usage.cpu_s == pytest.approx(sum(usage.cpu_s for usage in used.values()))
        assert result.usage.energy_kwh == pytest.approx(energy_kwh)
        assert result.usage.emissions_kg == pytest.approx(energy_kwh * 0.38095)
    took = made.accounts
    assert took["cpu_s"] == pytest.approx(sum(r.usage.cpu_s for r in records(sweep)))
    assert took["energy_kwh"] == pytest.approx(sum(r.usage.energy_kwh for r in records(sweep)))
    assert took["emissions_kg"] == pytest.approx(took["energy_kwh"] * 0.38095)
    assert took["gpu_s"] is None


def test_an_accelerator_costs_its_part_of_the_power_limit():
    power = Power(core_w=4.0, memory_w_per_gib=0.5, gpu_w=400.0)
    used = Usage(cpu_s=10.0, peak_memory_gib=2.0, peak_gpu_memory_gib=1.0)
    told = accounted(used, duration_s=8.0, num_gpus=0.25, power=power)
    assert told.gpu_s == 2.0
    assert told.energy_kwh * J_PER_KWH == pytest.approx(4 * 10 + 0.5 * 2 * 8 + 400 * 2)
    assert accounted(used, duration_s=8.0, num_gpus=0, power=None) == used


def test_without_a_region_there_is_energy_and_no_emission(toy):
    made = run(toy.sweep({"value": [1, 2]}), backend="inline")
    assert made.accounts["energy_kwh"] > 0
    assert made.accounts["emissions_kg"] is None
    assert {result.usage.emissions_kg for result in made.results} == {None}
    assert made.to_json()["trials"][0]["energy_kwh"] > 0


def test_the_region_of_a_report_may_be_named_later(toy):
    run(toy.sweep({"value": [1, 2]}), backend="inline")
    later = report(toy.sweep({"value": [1, 2]}, energy={"region": "FRA"}))
    took = later.accounts
    assert took["emissions_kg"] == pytest.approx(took["energy_kwh"] * regions()["FRA"].kg_per_kwh)


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("DEUT", "DEU"), ("deu", "DEU"), ("Germany", "DEU"), ("Frnce", "FRA"), ("U.S.A", "USA")],
)
def test_a_plan_refuses_an_unknown_region_and_names_the_nearest(toy, given, nearest):
    with pytest.raises(InvalidSweepError) as refused:
        plan(toy.sweep({"value": 1}, energy={"region": given}))
    (fault,) = refused.value.faults
    assert (fault.key, fault.nearest) == ("energy.region", nearest)
    assert given in fault.message


def test_a_sweep_file_with_an_unknown_region_computes_nothing(fanflare, toy, tmp_path):
    path = sweep_file(tmp_path, toy.sweep({"value": 1}, energy={"region": "GERM"}))
    ended = fanflare("run", path, "--backend", "inline")
    assert ended.code == 2
    assert "energy.region" in ended.err
    assert toy.num_executed() == 0


def test_emissions_are_those_of_codecarbon():
    emissions, units, geography, data = map(
        import_module,  # not for all other tests
        [
            "codecarbon.core.emissions",
            "codecarbon.core.units",
            "codecarbon.external.geography",
            "codecarbon.input",
        ],
    )
    theirs = emissions.Emissions(data.DataSource())
    for code in ("DEU", "FRA", "USA", "POL", "ISL", "ZWE"):
        place = geography.GeoMetadata(code)
        kg = theirs.get_private_infra_emissions(units.Energy.from_energy(1.0), place)
        assert regions()[code].kg_per_kwh == pytest.approx(kg)
    assert nearest_region("qqqqqq") == ""


@pytest.fixture
def asked_anew(monkeypatch, tmp_path):
    """Let the power of the machine be asked for in a folder of its own, and no network be used."""

    def refuse(*address):
        raise AssertionError(f"no network is needed to know a machine's power: {address}")

    monkeypatch.setenv("FANFLARE_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    machine_power.cache_clear()
    yield tmp_path
    machine_power.cache_clear()


def test_the_power_of_a_machine_is_asked_for_once_in_silence(asked_anew, capfd):
    power = machine_power()
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("codecarbon").disabled
    (file,) = (asked_anew / "power").iterdir()
    file.write_text(json.dumps({"core_w": 7.0, "memory_w_per_gib": 1.0, "gpu_w": 0.0}))
    assert machine_power() == power
    machine_power.cache_clear()
    assert machine_power().core_w == 7.0
    file.write_text("{")
    machine_power.cache_clear()
    assert machine_power() == power


# Sums and savings


def test_what_is_merged_saves_all_executions_but_one(toy):
    sweep = toy.sweep({"value": [1, 2, 3], "group": [10, 20]}, seeds=2)
    made = run(sweep, backend="inline")
    (shared,) = made.shared
    assert (shared["kind"], shared["stage"]) == ("merged", "toy/prepare")
    assert (shared["num_members"], shared["num_jobs"]) == (12, 2)
    prepared_s = [round(record.duration_s, 4) for record in records(sweep, "prepare")]
    assert shared["saved_s"] == pytest.approx(5 * sum(prepared_s), abs=1e-3)
    assert made.accounts["num_saved"] == 10
    assert made.accounts["saved_s"] == shared["saved_s"]
    assert 0 < made.accounts["saved_energy_kwh"] < 5 * made.accounts["energy_kwh"]


def test_a_trial_that_failed_saved_nothing(toy):
    space = [{"value": [1, 2]}, {"value": 3, "fail": "raise"}]
    made = run(toy.sweep(space), backend="inline")
    (shared,) = made.shared
    assert (shared["num_members"], shared["num_jobs"]) == (2, 1)


def test_what_is_computed_together_saves_what_it_would_take_alone(toy):
    sweep = sweep_of(toy, {"value": [1, 2, 3, 4], "sleep_s": 0.05})
    made = run(sweep, backend="inline")
    (shared,) = [entry for entry in made.shared if entry["kind"] == "together"]
    assert (shared["stage"], shared["num_members"], shared["num_jobs"]) == ("toy/work", 4, 1)
    took_s = sum(record.duration_s for record in records(sweep, "work"))
    declared = COHORT.fixed_cost / 4 + COHORT.member_cost
    assert shared["saved_s"] == pytest.approx(took_s / declared - took_s, rel=0.01)
    assert not shared["is_recorded"]


def test_a_member_that_was_timed_alone_says_what_a_cohort_saves(toy):
    keys = {"sleep_s": 0.05}
    run(sweep_of(toy, {"value": 9, **keys}, seeds=1), backend="inline")
    made = run(sweep_of(toy, {"value": 9, **keys}, seeds=5), backend="inline")
    found = [entry for entry in made.shared if entry["kind"] == "together"]
    assert all(entry["is_recorded"] for entry in found)
    # It sleeps as long alone as together, whatever the stage declares.
    assert all(abs(entry["saved_s"]) < 0.15 for entry in found)


def test_runs_are_summed_and_what_is_known_costs_nothing(toy):
    sweep = toy.sweep({"value": [1, 2], "busy_s": 0.05})
    first = run(sweep, backend="inline")
    second = run(sweep, backend="inline")
    assert second.accounts["compute_s"] == first.accounts["compute_s"]
    assert second.accounts["cpu_s"] == first.accounts["cpu_s"]
    assert second.accounts["wall_s"] > first.accounts["wall_s"]
    assert second.provenance["num_runs"] == 2
    anew = run(sweep, backend="inline", fresh=True)
    assert anew.accounts["cpu_s"] > 1.5 * first.accounts["cpu_s"]


def test_stages_that_check_the_input_are_accounted_for(toy):
    sweep = {**toy.sweep({"value": [1, 2]}), "pipeline": "tests.toy:CHECKED"}
    made = run(sweep, backend="inline")
    assert toy.num_executed("prepare") == 1
    used = [record.usage.cpu_s for record in records(sweep)]
    assert made.accounts["cpu_s"] == pytest.approx(sum(used))
    assert [entry["stage"] for entry in made.shared] == ["toy/prepare"]


def test_a_report_tells_the_same_as_the_run(toy):
    sweep = toy.sweep({"value": [1, 2]}, seeds=2)
    made, later = run(sweep, backend="inline"), report(sweep)
    for name in ("accounts", "shared", "provenance"):
        assert getattr(later, name) == getattr(made, name)


def test_a_sweep_that_was_never_run_has_no_accounts(toy):
    assert report(toy.sweep({"value": 1})).accounts is None


def test_a_run_that_was_killed_lasted_until_it_was_last_heard_of():
    events = [
        Event(time=10.0, kind="sweep_started"),
        Event(time=14.0, kind="job_started"),
        Event(time=100.0, kind="sweep_started"),
        Event(time=103.0, kind="sweep_ended"),
    ]
    assert runs(events) == [(10.0, 14.0), (100.0, 103.0)]
    assert accounts(events, [], None).wall_s == 7.0


def test_a_journal_of_an_earlier_version_has_times_and_nothing_else(toy):
    sweep = toy.sweep({"value": [1, 2]})
    run(sweep, backend="inline")
    workspace = open_sweep(sweep)
    old = [
        replace(e, detail={n: e.detail[n] for n in ("duration_s", "reused") if n in e.detail})
        for e in read_journal(workspace.store, "toy")
    ]
    told = accounts(old, [], "DEU")
    assert told.compute_s > 0
    assert (told.cpu_s, told.energy_kwh, told.emissions_kg) == (None, None, None)


# Documents


def test_a_terminal_has_one_line_of_it(fanflare, toy, tmp_path):
    path = sweep_file(tmp_path, toy.sweep({"value": [1, 2]}, seeds=3, energy={"region": "DEU"}))
    run(path, backend="inline")
    (line,) = [t for t in fanflare("report", path).out.splitlines() if t.startswith("Compute:")]
    assert "Wh" not in line, "of next to nothing there is no estimate"
    assert line.endswith("saved by sharing, estimated: 5 stages, 0s")


def test_the_keys_of_accounts_and_provenance(toy):
    made = run(toy.sweep({"value": [1, 2]}, energy={"region": "DEU"}), backend="inline")
    content = {name: getattr(made, name) for name in ("accounts", "shared", "provenance")}
    pinned = {"name": "", "digest": "", "source": ""}
    content["provenance"] |= {"models": [pinned], "tasks": [{**pinned, "num_rows": {"test": 1}}]}
    check_json("What a sweep took and came from", content)


def test_energy_is_told_in_units_that_people_know(capsys):
    took = {"compute_s": 7200.0, "energy_kwh": 0.26, "emissions_kg": 0.0049, "num_saved": 0}
    show_accounts(took)
    assert capsys.readouterr().out.strip() == "Compute: 2h 00m, ~260 Wh, ~4.9 g CO2e"
