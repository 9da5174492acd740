"""Pages in a real headless Chromium: what a script of the test's finds, what the browser said."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system_libraries import browser


@dataclass(frozen=True)
class Seen:
    """What came of opening a page.

    Attributes
    ----------
    result : object
        What the script returned.
    console : list of str
        Lines that the page wrote to the console, errors among them.
    requests : list of str
        What the page asked for that is not inside of it.
    """

    result: Any
    console: list[str]
    requests: list[str]


def look(page: Path, script: str, folder: Path, *, size: str = "1200,900") -> Seen:
    """Open a page, run a script in it once it is ready, and keep a screenshot beside it.

    Parameters
    ----------
    page : Path
    script : str
        Body of an async function.
    folder : Path
        For the browser's own files.
    size : str
        Width and height of the window.
    """
    program = browser()
    assert program is not None
    told = f"""<script>addEventListener("load", async () => {{
      const pause = ms => new Promise(done => setTimeout(done, ms));
      await pause(400);
      let answer;
      try {{
        answer = await (async () => {{ {script} }})();
      }} catch (error) {{ answer = String(error); }}
      const asked = performance.getEntriesByType("resource").map(entry => entry.name)
        .filter(name => !name.startsWith("data:"));
      const kept = document.createElement("pre");
      kept.id = "answer"; kept.textContent = JSON.stringify([answer, asked]);
      document.body.append(kept);
    }});</script></body>"""
    opened = folder / f"{page.stem}-opened.html"
    opened.write_text(page.read_text(encoding="utf-8").replace("</body>", told), encoding="utf-8")
    words = [
        program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-quic", f"--user-data-dir={folder / 'profile'}", f"--window-size={size}",
        "--virtual-time-budget=8000", "--enable-logging=stderr",
        "--dump-dom", opened.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    answer = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.DOTALL)
    assert answer, done.stderr[-2000:]
    plain = answer[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    result, asked = json.loads(plain)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(result, console, asked)
