"""Sends sweeps to other places and asks after them there; what runs them is the room `running`."""
