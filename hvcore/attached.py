"""An ioreq server that is attached to the domain."""

import attrs

from ioreq.control_core import Connection
from ioreq.core import CoreEndpoint


@attrs.define(eq=False)
class IoreqServer:
    """One attached ioreq server."""

    id: int
    endpoint: CoreEndpoint
    connection: Connection
    enabled: bool = False
    was_enabled: bool = False
    """Whether a vCPU may have been using it."""
