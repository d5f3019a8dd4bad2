"""An accelerator for machines without one: its tensors refuse to meet those of the host.

It computes on the host and shows what a real one would: where a tensor of the host meets one of
the device, and where a tensor of the device is read as if it were of the host. It knows nothing of
speed, memory, rounding or mixed precision. Once made it stays for the life of the process.
"""

from __future__ import annotations

import contextlib
import functools
from unittest import mock

import numpy as np
import torch
import torch._dynamo  # before its first use under a mode, which it does not expect
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "simulated"
COPIES = ("aten::_to_copy", "aten::copy_")
"""What may take from one device and give to the other."""
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""What takes numbers of places from either."""


class OnDevice(torch.Tensor):
    """A tensor that says it lies on the accelerator; the numbers are the host's."""

    @staticmethod
    def __new__(cls, on_host):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            on_host.size(),
            strides=on_host.stride(),
            storage_offset=on_host.storage_offset(),
            dtype=on_host.dtype,
            device=torch.device(NAME, 0),
        )
        made.on_host = on_host
        return made

    def __init__(self, on_host):
        pass

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    def __deepcopy__(self, memo):
        made = self.detach().clone()
        if isinstance(self, torch.nn.Parameter):
            made = torch.nn.Parameter(made, self.requires_grad)
        memo[id(self)] = made
        return made


def compute(func, args, kwargs):
    """Compute on the host what is asked of either device; refuse what mixes them."""
    name = func._schema.name
    tensors = list(_tensors_in((args, kwargs)))
    on_device = any(isinstance(each, OnDevice) for each in tensors)
    if on_device and name not in COPIES:
        met = tensors[:1] if name in INDEXING else [each for each in tensors if each.dim()]
        if not all(isinstance(each, OnDevice) for each in met):
            places = ", ".join(f"{each.device} {tuple(each.shape)}" for each in tensors)
            raise RuntimeError(f"{name}: all tensors have to be on the same device: {places}")
    wanted = kwargs.get("device")
    stays = on_device if wanted is None else torch.device(wanted).type == NAME
    if wanted is not None and stays:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    host_args, host_kwargs = _mapped(_to_host, (args, kwargs))
    result = func(*host_args, **host_kwargs)
    if name == "aten::copy_":
        return args[0]
    if not stays:
        return result
    result = _mapped(_to_device, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if on_device else result


def _tensors_in(given):
    """Find the tensors among the arguments of an operation."""
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, tuple | list | dict):
        for each in given.values() if isinstance(given, dict) else given:
            yield from _tensors_in(each)


def _mapped(function, given):
    """Return the arguments or results of an operation with all tensors replaced.

    They are nested in tuples, lists and dicts only: torch's own `tree_map`, which knows more,
    takes a third of the time of a sweep.
    """
    if isinstance(given, torch.Tensor):
        return function(given)
    if isinstance(given, dict):
        return {name: _mapped(function, each) for name, each in given.items()}
    if isinstance(given, tuple | list):
        return type(given)([_mapped(function, each) for each in given])
    return given


def _to_host(tensor):
    return tensor.on_host if isinstance(tensor, OnDevice) else tensor


def _to_device(tensor):
    return tensor if isinstance(tensor, OnDevice) else OnDevice(tensor)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What Python asks for above the operations."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if not args or not isinstance(args[0], OnDevice):
            return func(*args, **kwargs)
        if func in (torch.Tensor.untyped_storage, torch.Tensor.data_ptr):
            return func(args[0].on_host)
        if func is torch.Tensor.tolist:
            return args[0].cpu().tolist()
        if func is torch.Tensor.numpy and kwargs.get("force"):
            return args[0].detach().cpu().numpy()
        if func in (torch.Tensor.numpy, torch.Tensor.__array__):
            raise TypeError(f"can't convert a tensor of the device {NAME} to numpy")
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            place = torch.from_numpy(np.array(args[1])) if isinstance(args[1], list) else args[1]
            args = (args[0], place, *args[2:])
        return func(*args, **kwargs)


class _Module:
    """What torch asks of a device's module."""

    def is_initialized(self):
        return True

    def is_available(self):
        return True

    def current_device(self):
        return 0

    def device_count(self):
        return 1

    def _is_in_bad_fork(self):
        return False

    def manual_seed_all(self, seed):
        pass


@functools.cache
def install():
    """Make torch know the device, once in a process."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())


@contextlib.contextmanager
def in_use():
    """Let tensors be made on the device; it has no random stream but the host's."""
    on_host = torch.Generator
    with (
        mock.patch.object(torch, "Generator", lambda device="cpu": on_host()),
        mock.patch.object(torch, "inference_mode", torch.no_grad),
        _Operations(),
        _Functions(),
    ):
        yield
