"""A vision model server that behaves like vLLM 0.32.0, and misbehaves as a scenario tells it to.

    python tests/fakes/vllm_server.py --port 0 --model rednote-hilab/dots.ocr --max-model-len 16384

prints `listening on http://127.0.0.1:PORT` when it is ready. It reads the marks of drawn pages (vllm_parts/pages.py)
and answers with their true text. Standard library and Pillow only; nothing of ocrd, which it is to test.
"""

from __future__ import annotations

import sys

from vllm_parts.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
