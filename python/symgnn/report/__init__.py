"""One HTML page about a structure or a training run, which needs no network to be read.

``page`` puts a page together, ``structure`` and ``run`` collect what stands on it. ``templates``
holds the pages' own HTML, CSS and JavaScript, ``vendor`` the libraries that are embedded.
"""

from symgnn.report.run import report_run
from symgnn.report.structure import report_structure

__all__ = ["report_run", "report_structure"]
