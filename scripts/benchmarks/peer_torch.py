"""PyTorch, channels last: eager, or through `torch.compile` where that works.

Inference: under `inference_mode`, on the GPU where there is one; in bfloat16 under autocast.
torch-graphs, on GPUs alone, is torch.compile with CUDA graphs (mode="reduce-overhead").
Training: the images lie on the device as uint8; each is flipped and warped once by `affine_grid`
and `grid_sample` (the same ranges as ferjax's map, bilinear, border fill), cross-entropy of logits,
fused Adam. Augmentation and optimizer are eager also under torch-compile.
torch.compile keeps its code on disk, so its cold starts are second starts.
On GPUs convolutions and products use full float32 in inference, as ferjax's do, and TF32 in
training.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from . import network
from .cases import Setup

_EVALUATED = 128


def _torch(setup: Setup) -> tuple[Any, Any]:
    """Import PyTorch; return it and the device."""
    import torch

    torch.set_num_threads(setup.threads)
    torch.manual_seed(setup.seed)
    return torch, torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _use_tf32(torch: Any, allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def _autocast(torch: Any, device: Any, setup: Setup) -> Any:
    if setup.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, setup.dtype))


def build(torch: Any, setup: Setup) -> Any:
    """Return the network with its weights, from (B, 1, 48, 48) to logits (B, 7)."""
    nn = torch.nn
    layers, arrays = network.read(setup.folder)
    modules: list[Any] = []
    weights: dict[str, Any] = {}
    channels = 0  # of the feature maps
    spatial = True
    for layer in layers:
        kind, at = layer["kind"], str(len(modules))

        def weight(name: str, layer: Any = layer) -> Any:
            return torch.from_numpy(arrays[f"{layer['name']}/{name}"])

        if kind == "Conv2D":
            kernel = weight("kernel").permute(3, 2, 0, 1)
            channels, before, *window = kernel.shape
            modules.append(nn.Conv2d(before, channels, window, padding=layer["padding"]))
            weights |= {f"{at}.weight": kernel, f"{at}.bias": weight("bias")}
        elif kind == "Dense":
            rows = arrays[f"{layer['name']}/kernel"]
            if isinstance(modules[-1], nn.Flatten):
                rows = network.rows_by_channel(rows, channels)
            kernel = torch.from_numpy(rows).T
            modules.append(nn.Linear(kernel.shape[1], kernel.shape[0]))
            weights |= {f"{at}.weight": kernel, f"{at}.bias": weight("bias")}
        elif kind == "BatchNormalization":
            norm = nn.BatchNorm2d if spatial else nn.BatchNorm1d
            mean = weight("mean")
            modules.append(norm(len(mean), eps=layer["epsilon"], momentum=1 - layer["momentum"]))
            weights |= {f"{at}.weight": weight("scale"), f"{at}.bias": weight("bias")}
            weights |= {f"{at}.running_mean": mean, f"{at}.running_var": weight("var")}
        elif kind == "MaxPooling2D":
            modules.append(nn.MaxPool2d(layer["pool_size"]))
        elif kind == "Dropout":
            modules.append(nn.Dropout(layer["rate"]))
        elif kind == "Flatten":
            modules.append(nn.Flatten())
            spatial = False
        elif kind != "InputLayer":
            raise ValueError(f"no PyTorch layer for {kind!r}")
        if layer.get("activation") == "relu":
            modules.append(nn.ReLU())
    model = nn.Sequential(*modules)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"weights without a place {unexpected}, places without one {missing}")
    return model.to(memory_format=torch.channels_last)


def predictor(entry: str, setup: Setup) -> Any:
    """Return the function from uint8 images, (48, 48) or (B, 48, 48), to probabilities."""
    torch, device = _torch(setup)
    _use_tf32(torch, False)
    model = build(torch, setup).to(device).eval()
    model = _compiled(torch, entry, model)

    def predict(images: Any) -> Any:
        x = torch.from_numpy(network.normalized(images)).permute(0, 3, 1, 2)
        x = x.to(device).contiguous(memory_format=torch.channels_last)
        _begin(torch, entry)
        with torch.inference_mode(), _autocast(torch, device, setup):
            logits = model(x)
            return logits.float().softmax(-1).cpu().numpy()

    return predict


def resident(entry: str, setup: Setup, images: Any) -> tuple[Any, Any]:
    """Return what classifies images that lie on the device, and what waits for what that gives."""
    torch, device = _torch(setup)
    _use_tf32(torch, False)
    model = _compiled(torch, entry, build(torch, setup).to(device).eval())
    x = torch.from_numpy(network.normalized(images)).permute(0, 3, 1, 2)
    x = x.to(device).contiguous(memory_format=torch.channels_last)

    def call() -> Any:
        _begin(torch, entry)
        with torch.inference_mode(), _autocast(torch, device, setup):
            return model(x).float().softmax(-1)

    return call, lambda probabilities: float(probabilities[0, 0])


def _compiled(torch: Any, entry: str, model: Any) -> Any:
    """Return a model compiled as the entry says, with code of its own for each batch size."""
    if entry == "torch":
        return model
    mode = "reduce-overhead" if entry == "torch-graphs" else "default"
    return torch.compile(model, dynamic=False, mode=mode)


def _begin(torch: Any, entry: str) -> None:
    """Say that what the last call gave is no longer needed, where CUDA graphs keep one memory."""
    if entry == "torch-graphs":
        torch.compiler.cudagraph_mark_step_begin()


class Trainer:
    """Training steps over random images that lie on the device."""

    def __init__(self, entry: str, setup: Setup, batch_size: int) -> None:
        self._torch, self._device = _torch(setup)
        torch = self._torch
        _use_tf32(torch, True)
        self._setup, self._batch_size, self._entry = setup, batch_size, entry
        count = network.TRAINING_IMAGES
        self._images = torch.from_numpy(network.faces(count, setup.seed)).to(self._device)
        labels = network.labels(count, setup.seed).astype(np.int64)
        self._labels = torch.from_numpy(labels).to(self._device)
        model = build(torch, setup).to(self._device).train()
        self._optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, fused=True)
        self._model = _compiled(torch, entry, model)
        self._criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

    def run(self, steps: int) -> int:
        """Do `steps` steps and wait for the last; return the number of images."""
        for _ in range(steps):
            loss = self._step()
        self._loss = float(loss.detach())  # waits for the device
        return steps * self._batch_size

    def loss(self) -> float:
        """Return the loss of the last step."""
        return self._loss

    def evaluate(self, count: int) -> None:
        """Evaluate `count` images in batches of 128, and wait for their loss and accuracy."""
        torch, sums = self._torch, []
        self._model.eval()
        with torch.inference_mode(), _autocast(torch, self._device, self._setup):
            for start in range(0, count, _EVALUATED):
                rows = torch.arange(start, min(start + _EVALUATED, count), device=self._device)
                rows %= len(self._images)
                _begin(torch, self._entry)
                x = self._images[rows].unsqueeze(1).float().div_(255)
                logits = self._model(x.contiguous(memory_format=torch.channels_last)).float()
                labels = self._labels[rows]
                right = (logits.argmax(-1) == labels).sum()
                sums.append((torch.nn.functional.cross_entropy(logits, labels), right))
        self._model.train()
        for loss, right in sums:
            float(loss), int(right)

    def _step(self) -> Any:
        torch = self._torch
        _begin(torch, self._entry)
        rows = torch.randint(len(self._images), (self._batch_size,), device=self._device)
        x = self._images[rows].unsqueeze(1).float().div_(255)
        x = self._augment(x).contiguous(memory_format=torch.channels_last)
        with _autocast(torch, self._device, self._setup):
            logits = self._model(x)
        loss = self._criterion(logits.float(), self._labels[rows])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss

    def _augment(self, x: Any) -> Any:
        """Flip and warp images, (B, 1, H, W), each by its own map from output to input."""
        torch = self._torch

        def between(low: float, high: float) -> Any:
            return torch.rand(len(x), device=self._device) * (high - low) + low

        angle = between(-10, 10) * (np.pi / 180)
        zoom_x, zoom_y = between(0.9, 1.1), between(0.9, 1.1)
        flip = torch.where(between(0, 1) < 0.5, -1.0, 1.0)
        # affine_grid's coordinates go from -1 to 1 over the image.
        shift_x, shift_y = between(-0.16, 0.16), between(-0.16, 0.16)
        cos, sin = angle.cos(), angle.sin()
        rows_x = torch.stack([flip * zoom_x * cos, -zoom_y * sin, shift_x], -1)
        rows_y = torch.stack([flip * zoom_x * sin, zoom_y * cos, shift_y], -1)
        maps = torch.stack([rows_x, rows_y], 1)  # (B, 2, 3)
        functional = torch.nn.functional
        grid = functional.affine_grid(maps, x.shape, align_corners=False)
        return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


trainer = Trainer
