"""One rule for every device string."""

from __future__ import annotations

import pytest
import torch

from m2l_bench.music2latent.device import moved, pick_device
from m2l_bench.systems.registry import load


def test_the_default_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(None) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device(None) == torch.device("cuda")
    with pytest.raises(ValueError, match=r"available here \(cpu, cuda:0, cuda:1\), got 'cuda:2'"):
        pick_device("cuda:2")


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "gpu", ""])
def test_a_device_that_is_not_there_is_one_clear_error(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = rf"device must be one that is available here \(cpu\), got '{device}'"
    for make in (pick_device, lambda d: load("music2latent", device=d), lambda d: load("musicnn", device=d)):
        with pytest.raises(ValueError, match=message) as caught:
            make(device)
        assert "\n" not in str(caught.value)


def test_a_gpu_fetches_from_memory_that_stays_in_place() -> None:
    """On a stand-in for a tensor, which notes what is asked of it."""

    class Noted:
        requires_grad, device = False, torch.device("cpu")

        def __init__(self) -> None:
            self.asked: list[object] = []

        def pin_memory(self) -> Noted:
            self.asked.append("pinned")
            return self

        def to(self, device: torch.device, **options: object) -> Noted:
            self.asked += [str(device), options]
            return self

    x = Noted()
    assert moved(x, torch.device("cuda:1")) is x  # type: ignore[arg-type,comparison-overlap]
    assert x.asked == ["pinned", "cuda:1", {"non_blocking": True}]
    x.asked.clear()
    moved(x, torch.device("cpu"))  # type: ignore[arg-type]
    assert x.asked == ["cpu", {}]
    x.asked.clear()
    x.requires_grad = True
    moved(x, torch.device("cuda"))  # type: ignore[arg-type]
    assert x.asked == ["cuda", {}]
