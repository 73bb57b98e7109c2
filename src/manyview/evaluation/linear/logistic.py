"""Linear evaluation by logistic regression on features extracted once."""

from __future__ import annotations

from typing import Any

from manyview.backbones import Backbone
from manyview.backbones.beside import in_words
from manyview.evaluation.linear.measure import LinearMeasure
from manyview.evaluation.linear.settings import LogisticSettings
from manyview.evaluation.logistic.classifiers import fit_logistic, solver_device


class LogisticEvaluation(LinearMeasure):
    """Linear evaluation by logistic regression with C chosen by cross-validation on the training labels."""

    settings: LogisticSettings

    def measure(self, name: str, network: Backbone) -> dict[str, Any]:
        """The report for one backbone; C of each class, and the mAP of each C in cross-validation."""
        device = solver_device(self.device)
        train, val = (features.to(device).double() for features in self.features(name, network))
        labels = self.data.train.labels
        classifiers = fit_logistic(
            train,
            labels.targets,
            labels.ignored,
            costs=self.settings.costs,
            by_class=self.settings.cost_by_class,
            seed=self.settings.seed,
            progress=lambda done, total, phase: self.progress(done, total, f"{in_words(name)}: {phase}"),
        )
        scores = [classifiers.probabilities(features).cpu() for features in (train, val)]
        found: dict[str, Any] = {"costs": classifiers.costs, "unconverged": classifiers.unconverged}
        if classifiers.choice is not None:
            found["costs_at_edge"] = classifiers.at_edge
            found["cross_validated"] = [list(each) for each in classifiers.choice.tried]
        return {**self.report(name, *scores), **found}
