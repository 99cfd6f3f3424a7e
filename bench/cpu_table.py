"""The figures of `bench.cpu` as a table to read, and as one for the README."""

from __future__ import annotations

from typing import Any

from .busy import warning

OURS = ("gpubp compiled", "gpubp plain")


def lines(name: str, found: dict[str, Any]) -> list[str]:
    """Return the table of one workload on one number of threads."""
    said = [
        f"\n{name}: {found['says']}",
        f"  {'':16}{'steps/s':>12}{'least':>12}{'largest':>12}  to best peer    to best jax",
    ]
    for who, row in found["contenders"].items():
        text = f"  {who:16}" + "".join(
            f"{row[key]:12.4g}" for key in ("steps_per_second", "least", "largest")
        )
        for key in ("to_best_peer", "to_best_jax"):
            if key in row:
                text += f"  {row[key]['ratio']:5.2f} {row[key]['peer']}"
        said.append(text)
    said += [f"  {who} is left out: {why}" for who, why in found["left_out"].items()]
    if doubt := warning(found["others_share"]):
        said.append(f"  {doubt}")
    return said  # fmt: skip


def headline(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the steps a second of each workload and contender, on the largest thread count."""
    run = largest(result)
    return {
        name: {who: row["steps_per_second"] for who, row in found["contenders"].items()}
        for name, found in run["results"].items()
    }


def largest(result: dict[str, Any]) -> dict[str, Any]:
    """Return the run on the largest number of threads."""
    run: dict[str, Any] = max(result["runs"], key=lambda run: run["threads"])
    return run


def ours(run: dict[str, Any]) -> str:
    """Which of gpubp's paths a run is about: the compiled one, where it was measured."""
    measured = {who for found in run["results"].values() for who in found["contenders"]}
    return next((who for who in OURS if who in measured), OURS[0])


def markdown(result: dict[str, Any]) -> str:
    """Return the section for the README: what was measured, where, and a table for each run."""
    run = largest(result)
    versions = ", ".join(
        f"{name} {version}" for name, version in run["versions"].items()
        if name in ("numpy", "llvmlite", "jax", "torch", "scikit-learn")
    )  # fmt: skip
    text = [
        f"Training steps a second on {run['cpu']} ({run['cores']} cores), float32, medians of "
        f"{result['rounds']} interleaved rounds, {run['date'][:10]}, commit {run['commit']}; "
        f"{versions}. All contenders have the same weights and data, and agreed on the losses of "
        "the first steps before anything was timed (`python -m bench.cpu`). The ratio says how "
        "many times as fast gpubp is as the best of JAX (`jit` with donated buffers, `scan` over "
        "an epoch); the best peer is the best of JAX, torch and scikit-learn.",
    ]
    if "AMD" in run["cpu"]:
        text.append(
            "torch multiplies by MKL, which runs at about half its speed on AMD: on another "
            "processor its figures would be better. JAX has no such handicap."
        )
    for each in sorted(result["runs"], key=lambda run: -run["threads"]):
        text.append(f"On {_plural(each['threads'])}:\n\n{_table(each)}")
    return "\n\n".join(text) + "\n"


def _plural(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _table(run: dict[str, Any]) -> str:
    who = ours(run)
    heads = ["", "to the best of JAX", "to the best peer", f"{who}, steps/s",
             *(["gpubp plain"] if who != "gpubp plain" else []),
             "best JAX", "best torch", "scikit-learn", "textbook NumPy"]  # fmt: skip
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, found in run["results"].items():
        figures = found["contenders"]
        ours_here = figures.get(who, {})
        ratio, peer = ours_here.get("to_best_jax"), ours_here.get("to_best_peer")
        lead = (f"**{ratio['ratio']:.2f}** ({ratio['least']:.2f} to {ratio['largest']:.2f})"
                if ratio else "")  # fmt: skip
        cells = [
            f"{name}: {found['says']}", lead,
            f"{peer['ratio']:.2f} ({peer['peer']})" if peer else "", _rate(figures, who),
            *([_rate(figures, "gpubp plain")] if who != "gpubp plain" else []),
            _rate(figures, *[n for n in figures if n.startswith("jax")], said=4),
            _rate(figures, *[n for n in figures if n.startswith("torch") and "bf16" not in n],
                  said=6),
            _rate(figures, "scikit-learn"), _rate(figures, "textbook"),
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _rate(figures: dict[str, Any], *names: str, said: int | None = None) -> str:
    """The largest rate among those named, to three digits, and the rest of its name."""
    there = [name for name in names if name in figures]
    if not there:
        return ""
    best = max(there, key=lambda name: figures[name]["steps_per_second"])
    rate = figures[best]["steps_per_second"]
    digits = f"{float(f'{rate:.3g}'):,.0f}" if rate >= 100 else f"{rate:.3g}"
    return digits if said is None else f"{digits} ({best[said:].strip()})"
