"""From a stage's result to the package that somebody takes away."""

from kd_models.package import Measured, Package, PackageConfig, Preprocessing
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Candidate
from orchestrator.reporting.results import StageResult


def package_of(spec: SweepSpec, candidate: Candidate, result: StageResult) -> Package:
    """Return a student's package, without the pretrained teacher it may need.

    Args:
        spec: the sweep.
        candidate: the candidate.
        result: of its last stage.
    """
    stage, found = result.stage, result.evaluation
    return Package(
        PackageConfig(
            axes=dict(candidate.axes),
            dataset=stage.dataset,
            normal_class=stage.normal_class,
            normal_class_name=candidate.normal_class_name,
            seed=candidate.seed,
            stage_key=stage.key,
            fingerprint=stage.fingerprint,
            detector=stage.step.detector,
            preprocessing=Preprocessing(
                image_size=stage.image_size,
                channels=stage.step.detector.channels,
                depth=candidate.depth,
            ),
            threshold=found.threshold,
            measured=Measured(
                protocol=spec.evaluation.protocol,
                auroc=found.auroc,
                val_auroc=found.val_auroc,
                test_auroc=found.test_auroc,
                gmean=found.gmean,
                fpr=found.fpr,
                fnr=found.fnr,
                cost=result.cost,
            ),
        ),
        result.weights,
    )
