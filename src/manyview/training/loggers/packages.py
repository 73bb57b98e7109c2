"""Each logger through its own package, which is imported only where it is asked for.

All of them keep to their own environment variables, of which the offline ones matter most here: ``WANDB_MODE=offline``
or ``disabled``, ``MLFLOW_TRACKING_URI``, ``TRACKIO_DIR``. Where they name no project it is "manyview".
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from manyview.training.loggers.base import TENSORBOARD, Logger, RunFacts

_PROJECT = "manyview"
_LONGEST_PARAMETER, _PARAMETERS_AT_ONCE = 500, 100  # limits of MLflow's servers


class TensorBoardLogger:
    """Event files in ``RUN/tensorboard``."""

    id = ""

    def __init__(self, facts: RunFacts) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(facts.folder / "tensorboard"), purge_step=facts.step + 1)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Add figures to the event file."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self, ended: bool) -> None:
        """Flush and close the file."""
        self._writer.close()


class WandbLogger:
    """A run of Weights & Biases, with its files in ``RUN/wandb``; a resumed run goes on with it.

    Figures have the optimizer step as their axis instead of W&B's own, which never goes back.
    """

    def __init__(self, facts: RunFacts) -> None:
        import wandb

        self.id = facts.ids.get("wandb") or secrets.token_hex(6)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=os.environ.get("WANDB_NAME", facts.folder.name),
            id=self.id,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", str(facts.folder)),
            config=dict(facts.settings),
            settings=wandb.Settings(console="off"),  # which would otherwise capture the progress bar
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures at a step."""
        self._run.log({**figures, "step": step})

    def close(self, ended: bool) -> None:
        """Finish the run."""
        self._run.finish(exit_code=0 if ended else 1)


class MlflowLogger:
    """A run of MLflow, by its client alone: nothing global is set, and a resumed run goes on with it."""

    def __init__(self, facts: RunFacts) -> None:
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient()
        self.id = facts.ids.get("mlflow", "")
        if self.id:
            self._client.update_run(self.id, status="RUNNING")
            return
        experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or self._experiment(
            os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        )
        self.id = self._client.create_run(experiment, run_name=facts.folder.name).info.run_id
        self._log_settings(facts.settings)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures at a step."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in figures.items()])

    def close(self, ended: bool) -> None:
        """Mark the run as finished, or as killed."""
        self._client.set_terminated(self.id, "FINISHED" if ended else "KILLED")

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def _log_settings(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        parameters = [Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in settings.items()]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            self._client.log_batch(self.id, params=parameters[start : start + _PARAMETERS_AT_ONCE])


class TrackioLogger:
    """A run of trackio, on this machine; a resumed run goes on with the one of its name."""

    def __init__(self, facts: RunFacts) -> None:
        import trackio

        self.id = facts.ids.get("trackio") or f"{facts.folder.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        self._run: Any = trackio.init(
            project=_PROJECT,
            name=self.id,
            config=dict(facts.settings),
            resume="allow",
            embed=False,
        )

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Log figures at a step."""
        self._run.log(dict(figures), step=step)

    def close(self, ended: bool) -> None:
        """Write what is left."""
        self._run.finish()


OPENED_BY: Mapping[str, Callable[[RunFacts], Logger]] = MappingProxyType(
    {TENSORBOARD: TensorBoardLogger, "wandb": WandbLogger, "mlflow": MlflowLogger, "trackio": TrackioLogger}
)
"""What opens a logger, by its name, which is also that of its package."""
