"""Networks for other programs and from them: torch's weights, ONNX, scikit-learn's estimators.

`to_torch_state`, `from_torch_state`, `to_torch_file` and `from_torch_file` exchange weights with a
module of torch of the same structure; how layers and arrays are called there stands in
`gpubp.interchange.torch_names`. `network_from_torch_state` makes the network, too. `to_onnx` writes
a model for any runtime of ONNX, and `from_sklearn` takes over a fitted estimator. None of the
libraries is imported before it is needed, and torch never is.
"""

from __future__ import annotations

from .estimators import from_sklearn
from .onnx_export import to_onnx
from .torch_files import from_torch_file, read_torch_file, to_torch_file
from .torch_networks import network_from_torch_state
from .torch_state import from_torch_state, to_torch_state

__all__ = [
    "from_sklearn",
    "from_torch_file",
    "from_torch_state",
    "network_from_torch_state",
    "read_torch_file",
    "to_onnx",
    "to_torch_file",
    "to_torch_state",
]
