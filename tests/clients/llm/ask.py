"""The command line tool `llm`, told of the server in its own file."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

base, model = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "extra-openai-models.yaml").write_text(
        f"- {{model_id: avikam, model_name: {model}, api_base: '{base}/v1'}}\n"
        f"- {{model_id: plain, model_name: {model}, api_base: '{base}/v1', completion: true}}\n"
    )
    environment = {**os.environ, "LLM_USER_PATH": folder, "OPENAI_API_KEY": "none"}
    llm = [sys.executable, "-m", "llm", "Bonjour", "-o", "max_tokens", "12"]
    for extra in (["-m", "avikam"], ["-m", "avikam", "--no-stream"], ["-m", "plain"]):
        done = subprocess.run(llm + extra, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
