"""Files laid out as those that the published programs write, made from torchvision's own networks."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

State = dict[str, Tensor]


def shaken(network: nn.Module) -> nn.Module:
    """Each of a norm's tensors away from where it starts, so that it matters whether it was taken."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            assert isinstance(module.running_mean, Tensor)
            assert isinstance(module.running_var, Tensor)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.fill_(7)
    return network


def network(name: str) -> nn.Module:
    """One of torchvision's, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return shaken(models.get_model(name, weights=None)).eval()


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def body(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def other(state: State) -> State:
    """Weights of the same names and shapes that must not be taken."""
    return {key: value + 1 for key, value in body(state).items()}


def mlp(prefix: str, *layers: int) -> State:
    return {f"{prefix}{layer}.weight": torch.ones(4, 4) for layer in layers}


QUEUE = {"queue": torch.ones(4, 8), "queue_ptr": torch.zeros(1, dtype=torch.long)}


def simsiam(state: State) -> Any:
    weights = {**under("module.encoder.", body(state)), **mlp("module.encoder.fc.", 0, 3, 6)}
    momentum = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.05, "params": [0]}]}
    weights |= mlp("module.predictor.", 0, 3)
    return {"epoch": 100, "arch": "unknown to manyview", "state_dict": weights, "optimizer": momentum}


def moco(state: State) -> Any:
    weights = {**under("module.encoder_q.", body(state)), **mlp("module.encoder_q.fc.", 0, 2)}
    weights |= {**under("module.encoder_k.", other(state)), **mlp("module.encoder_k.fc.", 0, 2)}
    return {"epoch": 200, "state_dict": weights | under("module.", QUEUE), "optimizer": {"state": {}}}


def densecl(state: State) -> Any:
    weights = QUEUE | {"queue2": torch.ones(4, 8)} | under("encoder_q.0.", body(state)) | mlp("encoder_q.1.mlp.", 0, 2)
    weights |= under("encoder_k.0.", other(state)) | mlp("encoder_k.1.mlp.", 0, 2)
    weights |= under("backbone.", body(state))
    return {"meta": {"epoch": 200, "time": "now"}, "state_dict": weights, "optimizer": {"state": {}}}


def densecl_of_encoder(state: State) -> Any:
    weights = {key: value for key, value in densecl(state)["state_dict"].items() if not key.startswith("backbone.")}
    return {"state_dict": under("module.", weights)}


def densecl_extracted(state: State) -> Any:
    return {"state_dict": body(state), "author": "DenseCL"}


def slotcon(state: State) -> Any:
    weights = under("module.encoder_q.", other(state)) | under("module.encoder_k.", body(state))
    weights |= mlp("module.projector_q.", 0) | mlp("module.projector_k.", 0) | mlp("module.grouping_k.", 0)
    return {"args": argparse.Namespace(batch_size=512, milestones=[1, 2]), "model": weights, "epoch": 800}


def torchvision(state: State) -> Any:
    return dict(state)


def data_parallel(state: State) -> Any:
    return {"state_dict": under("module.", state), "best_acc1": 76.1}


def of_detectron2(state: State) -> State:
    """Under Detectron2's names: first what is outside of the stages, then the layers."""
    converted = {}
    for key, value in state.items():
        name = key if "layer" in key else f"stem.{key}"
        for stage in (1, 2, 3, 4):
            name = name.replace(f"layer{stage}", f"res{stage + 1}")
        for norm in (1, 2, 3):
            name = name.replace(f"bn{norm}", f"conv{norm}.norm")
        converted[name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = value
    return converted


def detectron2(state: State) -> Any:
    return {"model": of_detectron2(state), "__author__": "somebody", "matching_heuristics": True}


def detectron2_prefixed(state: State) -> Any:
    return {"model": under("backbone.", of_detectron2(body(state)))}


def timm(state: State, name: str) -> Any:
    """As timm's training program saves it; the one layout here that says which network it is of."""
    return {"epoch": 1, "arch": name, "state_dict": state, "version": 2, "metric": 76.1}


@dataclass(frozen=True)
class Layout:
    """One program's file: what makes its content, and what is to be told of it."""

    make: Callable[[State], Any]
    format: str
    file: str
    to_file: Callable[[str], str]
    dropped: frozenset[str] = frozenset()

    def write(self, state: State, folder: Path, change: Callable[[State], None] = lambda state: None) -> Path:
        content, path = self.make(state), folder / self.file
        inner = weights_in(content)
        change(inner)
        if path.suffix == ".safetensors":
            save_file(inner, path)
        elif path.suffix == ".pkl":
            content["model"] = {key: value.numpy() for key, value in inner.items()}
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path)
        return path


def weights_in(content: Any) -> State:
    """The entry of a file's content that holds its tensors."""
    inner: State = content.get("state_dict", content.get("model", content))
    return inner


def named(prefix: str) -> Callable[[str], str]:
    return lambda key: prefix + key


def named_by_detectron2(prefix: str = "") -> Callable[[str], str]:
    return lambda key: prefix + next(iter(of_detectron2({key: torch.empty(0)})))


PLAIN = "torchvision or timm"
CLASSIFIER = frozenset({"the classifier"})
HEADS_OF_SIMSIAM = frozenset({"the projector", "the predictor"})
BESIDE_MOCO = frozenset({"the projector", "the momentum encoder", "the queue of negatives"})
BESIDE_DENSECL = frozenset({"the query encoder's head and copy", "the momentum encoder", "the queue of negatives"})
BESIDE_SLOTCON = frozenset({"the online encoder", "the slots and their heads"})

LAYOUTS = {
    "simsiam": Layout(simsiam, "SimSiam", "w.pth.tar", named("module.encoder."), HEADS_OF_SIMSIAM),
    "moco": Layout(moco, "MoCo v2", "w.pth.tar", named("module.encoder_q."), BESIDE_MOCO),
    "densecl": Layout(densecl, "DenseCL", "w.pth", named("backbone."), BESIDE_DENSECL),
    "densecl of encoder": Layout(densecl_of_encoder, "DenseCL", "w.pth", named("module.encoder_q.0."), BESIDE_DENSECL),
    "densecl extracted": Layout(densecl_extracted, PLAIN, "w.pth", named("")),
    "slotcon": Layout(slotcon, "SlotCon", "w.pth", named("module.encoder_k."), BESIDE_SLOTCON),
    "torchvision": Layout(torchvision, PLAIN, "w.pth", named(""), CLASSIFIER),
    "DataParallel": Layout(data_parallel, PLAIN, "w.pth", named("module."), CLASSIFIER),
    "safetensors": Layout(torchvision, PLAIN, "w.safetensors", named(""), CLASSIFIER),
    "MoCo in safetensors": Layout(
        lambda state: moco(state)["state_dict"], "MoCo v2", "w.safetensors", named("module.encoder_q."), BESIDE_MOCO
    ),
    "detectron2": Layout(detectron2, "Detectron2", "w.pkl", named_by_detectron2(), CLASSIFIER),
    "detectron2, prefixed": Layout(detectron2_prefixed, "Detectron2", "w.pkl", named_by_detectron2("backbone.")),
    "detectron2 in PyTorch's file": Layout(detectron2, "Detectron2", "w.pth", named_by_detectron2(), CLASSIFIER),
}
