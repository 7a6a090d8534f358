"""The page that finds faces and tells expressions in the browser, where photographs stay.

`write` makes a static site of a classifier. Behind it: `site`; `runtime`, which finds ONNX Runtime
Web; `card`, what the page says of the weights; `headers`, what any server should send with it, as
`serving` does on this machine alone. What runs in the browser lies in `page`.
"""

from __future__ import annotations

from ferjax.web.runtime import Runtime
from ferjax.web.runtime import find as find_runtime
from ferjax.web.site import Site, write

__all__ = ["Runtime", "Site", "find_runtime", "write"]
