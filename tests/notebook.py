"""The notebook, run as its readers run it and freed of what differs from run to run.

python -m tests.notebook    runs examples/quickstart.ipynb and keeps its outputs
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed() -> nbformat.NotebookNode:
    """The notebook with new outputs.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as home:
        environment = {name: value for name, value in os.environ.items() if name[:4] != "IOG_"}
        places = dict.fromkeys(("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"), home)
        client = NotebookClient(
            notebook,
            timeout=None,
            startup_timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(NOTEBOOK.parent)}},
        )
        client.create_kernel_manager()
        # No port that others on this machine could reach.
        client.km.transport, client.km.ip = "ipc", f"{home}/kernel"
        client.execute(env={**environment, **places, "IOG_WEIGHTS_DIR": home})
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
