"""Look at the built site as readers do: links, pictures, and the width of a phone.

    python docs/check_site.py docs/_build/html

Every page is opened by a headless Chromium in a frame as wide as a phone and in one as
wide as a screen. Reported are pictures that do not load, formulas that are not set,
links into the site that lead nowhere, page or place, metrics such as R@10 that became
mail addresses, and texts wider than their frame. Links to other sites are not
followed. The exit code is 1 if anything is wrong.
"""

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

WIDTHS = (390, 1200)  # pixels: a phone, a screen

# Runs in Chromium, one page and width after another, and leaves its findings behind.
VISITOR = """<!doctype html><title>visitor</title><body><script>
const pages = PAGES, widths = WIDTHS, found = [], places = {}, links = [];
async function visit(page, width) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:800px;border:0`;
  const loaded = new Promise(done => (frame.onload = done));
  frame.src = "/" + page;
  document.body.append(frame);
  await loaded;
  const inner = frame.contentDocument;
  for (const image of inner.images) image.loading = "eager";
  await Promise.allSettled([...inner.images].map(image => image.decode()));
  for (const image of inner.images)
    if (!image.naturalWidth)
      found.push([page, `no picture ${image.getAttribute("src")}`]);
  if (inner.defaultView.MathJax) await inner.defaultView.MathJax.startup.promise;
  for (const formula of inner.querySelectorAll(".math"))
    if (!formula.querySelector("mjx-container"))
      found.push([page, `a formula that is not set: ${formula.textContent}`]);
  // The theme lets the article be scrolled; code and tables have bars of their own.
  const box = inner.querySelector(".bd-article-container") || inner.documentElement;
  if (box.scrollWidth > box.clientWidth + 1) {
    const edge = box.getBoundingClientRect().left + box.scrollWidth - 1;
    const widest = [...box.querySelectorAll("*")]
      .filter(e => e.getBoundingClientRect().right >= edge).pop();
    const what = widest?.outerHTML.slice(0, 80);
    found.push([page, `too wide for ${width} pixels: ${what}`]);
  }
  places[page] = [...inner.querySelectorAll("[id]")].map(e => e.id);
  for (const a of inner.querySelectorAll("a[href]"))
    if (a.protocol === "mailto:") found.push([page, `R@10 as an address: ${a.href}`]);
    else if (a.origin === location.origin) links.push([page, a.pathname, a.hash]);
  frame.remove();
}
(async () => {
  for (const page of pages) for (const width of widths) await visit(page, width);
  for (const [page, path, hash] of links) {
    const target = decodeURIComponent(path).slice(1) || "index.html";
    const id = decodeURIComponent(hash).slice(1);
    if (target in places) {
      if (id && !places[target].includes(id))
        found.push([page, `no place #${id} in ${target}`]);
    } else if (!(await fetch(path, {method: "HEAD"})).ok)
      found.push([page, `no page ${target}`]);
  }
  await fetch("/findings", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site and the visitor, and takes the visitor's findings."""

    def do_GET(self):
        """Send a file, or the visitor."""
        if self.path != "/visitor":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.visitor.encode())

    def do_POST(self):
        """Keep the findings."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.findings = json.loads(body)
        self.send_response(204)
        self.end_headers()
        self.server.done.set()

    def log_message(self, *arguments):
        """Say nothing."""


def findings(site, browser, seconds):
    """Pairs of a page and what is wrong with it."""
    pages = sorted(str(p.relative_to(site)) for p in site.rglob("*.html"))
    pages = [p for p in pages if not p.startswith(("_static", "_modules"))]
    handler = functools.partial(Handler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.visitor = VISITOR.replace("PAGES", json.dumps(pages)).replace(
            "WIDTHS", json.dumps(WIDTHS)
        )
        server.done = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/visitor"
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            options = ["--headless", "--no-sandbox", f"--user-data-dir={profile}"]
            window = subprocess.Popen(
                # A port for debugging keeps the window open.
                [browser, *options, "--remote-debugging-port=0", address],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            finished = server.done.wait(seconds)
            window.terminate()
            window.wait()
        server.shutdown()
    if not finished:
        sys.exit(f"{browser} was not done with {len(pages)} pages in {seconds} s.")
    print(f"{len(pages)} pages, {' and '.join(map(str, WIDTHS))} pixels wide")
    return sorted({tuple(pair) for pair in server.findings})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", type=Path, help="folder of the built pages")
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("There is no chromium: apt-get install chromium.")
    wrong = findings(options.site, browser, options.seconds)
    for page, what in wrong:
        print(f"{page}: {what}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
