"""Every method by its name, with the settings that it is run with unless a benchmark says otherwise."""

from collections.abc import Mapping

from app.methods import Method
from worker.baselines.deepcut import DeepCut
from worker.baselines.eco import ECO
from worker.baselines.flat import Flat
from worker.baselines.full_gradient import FullGradient
from worker.baselines.grad_diff import GradDiff
from worker.baselines.gradient_ascent import GradientAscent
from worker.baselines.logit_filtration import LogitFiltration
from worker.baselines.lora_gradient import LoraUpdate
from worker.baselines.npo import NPO
from worker.baselines.rmu import RMU
from worker.baselines.scrub import Scrub
from worker.baselines.shred import Shred
from worker.baselines.simnpo import SimNPO
from worker.baselines.sku import SKU
from worker.baselines.task import Unlearner

BASELINES: Mapping[Method, Unlearner] = {
    Method.FULL_GRADIENT: FullGradient(),
    Method.FULL_GRADIENT_DENSE: FullGradient(),
    Method.LORA_SINGLE: LoraUpdate(views=1),
    Method.LORA_MULTI: LoraUpdate(),
    Method.SCRUB: Scrub(),
    Method.LOGIT_FILTRATION: LogitFiltration(),
    Method.ECO: ECO(),
    Method.SKU: SKU(),
    Method.DEEPCUT: DeepCut(),
    Method.GRADIENT_ASCENT: GradientAscent(),
    Method.NPO: NPO(),
    Method.SIMNPO: SimNPO(),
    Method.GRAD_DIFF: GradDiff(),
    Method.RMU: RMU(),
    Method.FLAT: Flat(),
    Method.SHRED: Shred(),
}
