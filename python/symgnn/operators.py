"""The compiled operators ``torch.ops.symgnn``: importing this module makes torch know them.

Models use them where ``torch.ops.symgnn.has_kernel`` says so, and are plain torch elsewhere. The
first to build, fit, load or script a model imports this module: ``training`` does.
"""

from ._native import load_core

load_core()
