"""Write the golden texts anew: `python -m tests.program.golden`."""

from tests.program.golden import FOLDER, texts

for name, text in texts().items():
    (FOLDER / name).write_text(text, encoding="utf-8")
    print(name)
