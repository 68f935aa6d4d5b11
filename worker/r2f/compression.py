"""Compression of the summed rounds to the adapter's rank, in the curvature norm.

After preconditioning, large is not important: a direction with a small weight may change the model's outputs more than
one with a large weight. So the update is truncated where its size means what it does to the model:
‖C_out^½ U C_in^½‖ is least changed. The Cholesky factor of C within a factor's own span takes the place of the square
root, so nothing d × d is ever made.
"""

import torch
from torch import Tensor

from worker.r2f.adaptation import Update
from worker.r2f.curvature import Curvature, Moment
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site


def compress(update: Update, sites: tuple[Site, ...], curvature: Curvature, damping: float, rank: int) -> Update:
    """The best approximation of every site's update of a rank, in the damped curvature norm."""
    small = {}
    for site in sites:
        part = update[site.name]
        c_out, c_in = curvature.outputs[site.name], curvature.inputs[site.group]
        small[site.name] = _truncate(part, c_out, c_in, damping, rank)
    return small


def _truncate(part: LowRank, c_out: Moment, c_in: Moment, damping: float, rank: int) -> LowRank:
    q_left, r_left = torch.linalg.qr(part.left.double())  # (d_out × k), (k × k)
    q_right, r_right = torch.linalg.qr(part.right.double().T)  # (d_in × k), (k × k)
    root_out, root_in = _root(c_out, q_left, damping), _root(c_in, q_right, damping)
    u, sigma, vh = torch.linalg.svd(root_out.T @ (r_left @ r_right.T) @ root_in, full_matrices=False)
    scale = sigma[:rank].sqrt()
    left = q_left @ torch.linalg.solve_triangular(root_out.T, u[:, :rank] * scale, upper=True)
    right = q_right @ torch.linalg.solve_triangular(root_in.T, vh[:rank].T * scale, upper=True)
    return LowRank(left.to(part.left.dtype), right.T.to(part.right.dtype).contiguous())


def _root(moment: Moment, basis: Tensor, damping: float) -> Tensor:
    """Lower triangular S (k × k) with S Sᵀ = basisᵀ (C + λ I) basis."""
    gram = basis.T @ moment.double().times(basis, damping)
    root: Tensor = torch.linalg.cholesky((gram + gram.T) / 2)
    return root
