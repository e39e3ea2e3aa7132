"""The factory that the server calls (``server.backend`` in task.toml): warpsmith's transformers backend, with what this
workspace changes. Batching, tokens and HTTP are the backend's and the server's; what is done to the model is ours.
"""

import dataclasses

import torch

from backend import environment, hooks, loading
from warpsmith.serving import torchmodel
from warpsmith.serving.backend import Backend, Given


def make(given: Given) -> Backend:
    """The backend. Raises warpsmith's BadInput for an option or variable that it does not take."""
    options = {**given.options, "install": "backend.glue:install"}
    said = {**environment.DEFAULTS, **given.environment}
    return torchmodel.make(dataclasses.replace(given, options=options, environment=said))


def install(model: torch.nn.Module) -> str:
    """Called with the loaded model before it is warmed up; what it returns is in the server's log."""
    return "; ".join((loading.arrange(model), *hooks.install(model)))
