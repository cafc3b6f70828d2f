"""A student's package: a folder that scores images without sweep, store or tracking server."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from kd_models.evaluation.scoring import Scorer, batch_of, in_batches
from kd_models.methods.base import Detector, PretrainedWeights, StateDict
from kd_models.package.card import model_card
from kd_models.package.config import PackageConfig
from kd_score.detector import CONFIG, check_sums, write_sums
from kd_score.errors import PackageError

WEIGHTS, TEACHER, CARD = "model.safetensors", "teacher.safetensors", "README.md"
PROGRAM = "model.pt2"
"""the detector as torch.export writes it, where the package is exported"""


@dataclass(frozen=True)
class Package:
    """A student that scores images, with the teacher it needs beside it, if any."""

    config: PackageConfig
    weights: StateDict
    teacher: StateDict | None = field(default=None, repr=False)

    def scorer(self) -> Scorer:
        """Return the network, ready to score.

        Raises:
            PackageError: the student needs a teacher, and the package lacks it.
        """
        detector: Detector = self.config.detector
        if detector.pretrained_sha256 and self.teacher is None:
            raise PackageError(f"{TEACHER} is missing; kd download fetches it too")
        scorer = detector.scorer()
        scorer.load(self.weights, self.teacher)
        return scorer.eval()

    def score(self, images: Tensor) -> Tensor:
        """Return the novelty scores (N,) of preprocessed images (N, C, S, S)."""
        return in_batches(self.scorer(), images, batch_of(images))

    def save(self, folder: Path) -> None:
        """Write weights, config, model card and checksums into ``folder``.

        Exported models that lie there stay part of the package; without them it has none.
        """
        exports = self.config.exports
        names = (*exports.models, PROGRAM) if exports else ()
        models = [name for name in names if (folder / name).is_file()]
        config = self.config if models else self.config.model_copy(update={"exports": None})
        folder.mkdir(parents=True, exist_ok=True)
        _save(self.weights, folder / WEIGHTS)
        if self.teacher is not None:
            _save(self.teacher, folder / TEACHER)
        (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / CARD).write_text(model_card(config), encoding="utf-8")
        with_teacher = [TEACHER] if self.teacher is not None else []
        write_sums(folder, [WEIGHTS, CONFIG, CARD, *with_teacher, *models])

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a package.

        Raises:
            PackageError: a file is missing or damaged; the message names it.
        """
        check_sums(folder)
        try:
            config = PackageConfig.model_validate_json((folder / CONFIG).read_bytes())
            teacher = load_file(folder / TEACHER) if (folder / TEACHER).is_file() else None
            package = cls(config, load_file(folder / WEIGHTS), teacher)
            package.scorer()
            wanted = config.detector.pretrained_sha256
            if teacher is not None and PretrainedWeights(teacher).sha256 != wanted:
                raise ValueError(f"{TEACHER} is not the teacher that the student learned from")
        except PackageError as error:
            raise PackageError(f"{folder} is not whole: {error}") from None
        except (ValidationError, ValueError, SafetensorError, RuntimeError, OSError) as error:
            raise PackageError(f"{folder} is damaged: {error}") from None
        return package


def _save(weights: StateDict, path: Path) -> None:
    # Not by save_file, whose files only their owner can read.
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in weights.items()}))
