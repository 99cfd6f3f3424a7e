"""Values of pyarrow's arrays as NumPy's, and the other way, without what pyarrow does by itself.

Its own `to_numpy` and `array` import pandas where that is installed, which takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def filled(values: Any, missing: float) -> Any:
    """Return numbers `(n,)` as float64, or as int64 for a whole `missing`, which stands for nulls.

    Whole numbers beyond 2**53 are rounded.
    """
    import pyarrow
    import pyarrow.compute as pc

    kind = pyarrow.float64() if isinstance(missing, float) else pyarrow.int64()
    given = values.cast(kind, safe=False)
    if given.null_count:
        instead = pyarrow.py_buffer(np.full(len(given), missing))
        given = pc.coalesce(given, pyarrow.Array.from_buffers(kind, len(given), [None, instead]))
    return np.from_dlpack(given)


def strings(texts: Sequence[str]) -> Any:
    """Return texts as pyarrow's array of strings."""
    import pyarrow

    data = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int32)
    return pyarrow.StringArray.from_buffers(
        len(data), pyarrow.py_buffer(ends), pyarrow.py_buffer(b"".join(data))
    )
