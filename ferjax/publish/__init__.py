"""Share weights: the folder that goes to a hub, and its way there.

`folder` writes what is shared, with the card of `ferjax.evaluate` under the header that `header`
makes for the hub; `sending` pushes it.
"""

from ferjax.publish.folder import Contents, write_folder
from ferjax.publish.sending import push

__all__ = ["Contents", "push", "write_folder"]
