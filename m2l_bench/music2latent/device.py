"""The device that a model computes on, and the way there."""

from __future__ import annotations

import torch
from torch import Tensor


def pick_device(device: str | torch.device | None) -> torch.device:
    """Resolve a device: by default CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError
        If there is no such device; the message lists those that there are.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device is None:
        return torch.device("cuda" if count else "cpu")
    available = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
    problem = f"device must be one that is available here ({available}), got {str(device)!r}"
    try:
        found = torch.device(device)
        if found.type == "cuda" and (found.index or 0) >= count:
            raise ValueError(problem)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(problem) from error
    return found


def moved(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device. Memory that stays in place lets a GPU fetch it while the processor goes on."""
    if device.type == "cuda" and x.device.type == "cpu" and not x.requires_grad:
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)
