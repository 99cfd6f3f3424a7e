"""`gpubp export`: a model file as one that other programs read."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import InputError
from ..files import check_writable, same_file
from ..interchange import to_onnx, to_torch_file
from ..network import load
from . import output


def add_to(commands: Any) -> None:
    """Add the sub-command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write a model for ONNX runtimes, or its weights for torch",
        description="Write the network of a model file as ONNX, its weights as a safetensors file "
        "with torch's names, or both.",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that Network.save wrote")
    parser.add_argument("--onnx", metavar="FILE", help="write an ONNX model (needs gpubp[onnx])")
    parser.add_argument("--torch", metavar="FILE", help="write a state_dict as safetensors")
    parser.add_argument("--member", type=int, help="which network of an ensemble, from 0")
    parser.add_argument(
        "--probabilities", action="store_true", help="ONNX: put out probabilities, not raw outputs"
    )
    parser.add_argument("--opset", type=int, default=17, help="ONNX: version of the operators")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write what was asked for."""
    if options.onnx is None and options.torch is None:
        raise InputError("export: say what to write: --onnx FILE, --torch FILE, or both")
    given = {"onnx": options.onnx, "torch": options.torch}
    written = {kind: path for kind, path in given.items() if path is not None}
    for kind, path in written.items():
        output.check_apart(f"--{kind}", path, options.model)
        check_writable(path)
    if len(written) == 2 and same_file(options.onnx, options.torch):
        raise InputError(f"--onnx and --torch would both be written to {options.torch}; give two")
    net, member = load(options.model), options.member
    if "onnx" in written:
        how = {"probabilities": options.probabilities, "opset": options.opset}
        to_onnx(net, options.onnx, member=member, **how)
    if "torch" in written:
        to_torch_file(net, options.torch, member=member)
    for kind, path in written.items():
        print(f"{kind:<6} {path}")
    if options.json:
        print(json.dumps({"model": options.model, **written}))
    return 0
