"""What a piece of work used: believable figures, at a price that nobody notices."""

import subprocess
import sys
import time
from dataclasses import asdict, replace

from cluster.artifact import Record
from cluster.store import Store
from cluster.usage import Meter, Usage, free_memory_gib

MIB = 2**20
RECORD = Record(digest="ab" * 32, stage="a/stage", value={}, started_at=1.0, duration_s=2.0)


def peak_mib(meter):
    return meter.read().peak_memory_gib * 1024


def test_a_peak_belongs_to_the_work_that_had_it():
    before = peak_mib(Meter())
    meter = Meter()
    block = bytearray(200 * MIB)
    del block
    assert 190 < peak_mib(meter) - before < 260
    if sys.platform == "linux":
        assert peak_mib(Meter()) - before < 50


def test_seconds_are_those_of_the_processor_divided_over_those_who_share_them():
    meter = Meter()
    time.sleep(0.2)
    assert meter.read().cpu_s < 0.1
    began_s = time.process_time()
    while time.process_time() < began_s + 0.2:
        pass
    spent_s = meter.read().cpu_s
    assert 0.2 <= spent_s < 0.4
    assert 0.05 <= meter.read(4).cpu_s < spent_s
    meter.resume()
    assert meter.read().cpu_s < 0.1


def test_a_child_that_ended_counts():
    meter = Meter()
    code = "block = bytearray(300 * 2**20); sum(range(5_000_000))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    used = meter.read()
    assert used.cpu_s > 0.05
    assert used.peak_memory_gib > 0.29


def test_without_an_accelerator_nothing_is_said_of_one():
    assert Meter().read().peak_gpu_memory_gib is None


def test_measuring_costs_next_to_nothing():
    began_s = time.process_time()
    for _ in range(200):
        Meter().read()
    assert (time.process_time() - began_s) / 200 < 0.001


def test_a_record_keeps_it_and_old_records_still_read(tmp_path):
    store = Store(str(tmp_path))
    usage = Usage(cpu_s=1.5, peak_memory_gib=0.25, peak_gpu_memory_gib=3.0)
    store.write(replace(RECORD, usage=usage))
    assert store.find([RECORD.digest])[RECORD.digest].usage == usage
    old = {name: value for name, value in asdict(RECORD).items() if name != "usage"}
    assert Record.from_json(old) == RECORD


def test_in_a_container_there_is_what_its_limit_leaves(tmp_path, monkeypatch):
    on_the_host = free_memory_gib("cpu")
    assert on_the_host > 0.1
    monkeypatch.setattr("cluster.usage._CGROUP", tmp_path)
    (tmp_path / "memory.current").write_text(f"{96 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {64 * MIB}\ninactive_file {32 * MIB}\n")
    (tmp_path / "memory.max").write_text(f"{128 * MIB}\n")
    assert free_memory_gib("cpu") == 64 / 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_gib("cpu") > 64 / 1024
