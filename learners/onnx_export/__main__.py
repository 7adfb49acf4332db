"""`python -m learners.onnx_export` writes `docs/onnx_export.md`; run it from the repository's root."""

from __future__ import annotations

from pathlib import Path

from learners.onnx_export.catalogue import PAGE, page

if __name__ == "__main__":
    Path(PAGE).write_text(page(), encoding="utf-8")
