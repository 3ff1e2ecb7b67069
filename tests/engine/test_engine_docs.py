"""The example of docs/engine.md is run as it stands."""

import math
import re
from pathlib import Path

from tests.tiny_base import copy_tiny_base

DOCS = Path(__file__).resolve().parents[2] / "docs" / "engine.md"


def test_the_twenty_lines_of_the_docs_train_a_dpo_adapter(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    copy_tiny_base(tmp_path / "var/base/tiny")
    exec(compile(code, str(DOCS), "exec"), {})
    steps = [eval(line.split(" ", 1)[1]) for line in capsys.readouterr().out.splitlines() if line[:1].isdigit()]
    assert len(steps) == 6
    assert math.isclose(steps[0]["loss"], math.log(2), rel_tol=1e-6)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert (tmp_path / "my-adapter" / "adapter_model.safetensors").exists()
