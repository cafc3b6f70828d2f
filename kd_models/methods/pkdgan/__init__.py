"""P-KDGAN (IJCAI 2020): small GANomaly students, distilled from a large one in one step or two."""

from kd_models.methods.base import Method
from kd_models.methods.pkdgan.published import PUBLISHED
from kd_models.methods.pkdgan.scores import GanDetector
from kd_models.methods.pkdgan.settings import PkdganSettings

METHOD = Method(
    name="pkdgan",
    summary="small GANomaly students, distilled from a large one (P-KDGAN, IJCAI 2020)",
    settings=PkdganSettings,
    detector=GanDetector,
    example={"structures": ["kdgan-2"]},
    is_default=True,
    published=PUBLISHED,
)
