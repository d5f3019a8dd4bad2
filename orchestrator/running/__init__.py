"""Executing a plan: schedule, journal, worker, loop, tracking."""
