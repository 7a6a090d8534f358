"""The network: layers as data, the graph that joins them, and the Flax module over it.

Describe: `layers`, with `initializers`; `graph`; `architectures`. Compute: `network`, with
`variables`, over `ops`, `convolution` and `resampling`. What a description says: `head` of the
classes, `value_range` of the input, `known` of which network it is, and `summary` for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ferjax.nets.graph import Call, Graph

if TYPE_CHECKING:
    from ferjax.nets.architectures import ARCHITECTURES, fer_cnn5, fer_cnn8
    from ferjax.nets.network import Network

__all__ = ["ARCHITECTURES", "Call", "Graph", "Network", "fer_cnn5", "fer_cnn8"]


def __getattr__(name: str) -> Any:
    # Flax is imported when a network is first wanted: reading a weight file needs only the graph.
    if name == "Network":
        from ferjax.nets.network import Network

        return Network
    if name in __all__:
        from ferjax.nets import architectures

        return getattr(architectures, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
