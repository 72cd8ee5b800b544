"""A stub of the Hugging Face hub on the loopback: what huggingface_hub asks of it."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants

TOKEN = "hf_of_the_tests"
URL = "/{repo_id}/resolve/{revision}/{filename}"


@dataclass
class StubRepository:
    """Commits, each with all of its files, and the names of some."""

    private: bool = False
    gated: bool = False
    commits: dict = field(default_factory=dict)
    refs: dict = field(default_factory=dict)
    messages: list = field(default_factory=list)

    def commit(self, files, ref="main", message=""):
        text = repr((sorted(files.items()), len(self.commits)))
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit], self.refs[ref] = dict(files), commit
        self.messages.append(message)
        return commit

    def find(self, revision):
        commit = self.refs.get(revision, revision)
        return commit if commit in self.commits else None


class StubHub:
    """The hub's repositories, uploaded large files, and a log of all requests."""

    def __init__(self, url):
        self.url = url
        self.repositories, self.large, self.requests = {}, {}, []

    def add(self, name, folder, **about):
        """Make a repository of the files of a folder, and return it."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}
        repository = self.repositories[name] = StubRepository(**about)
        repository.commit(files)
        return repository

    def downloaded(self):
        """Names of the files whose content was sent."""
        found = [re.search("/resolve/[^/]+/(.*)", path) for _, path in self.requests]
        asked = zip(self.requests, found, strict=True)
        return {m.group(1) for (method, _), m in asked if m and method == "GET"}


class Handler(BaseHTTPRequestHandler):
    hub = None

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.respond()

    do_GET = do_POST = do_PUT = do_HEAD

    def respond(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        for pattern, method in ROUTES:
            found = re.fullmatch(pattern, path)
            if found:
                return method(self, *found.groups())
        return self.send(404, {"error": f"the stub has no {path}"})

    def send(self, status, content, **headers):
        is_file = isinstance(content, bytes)
        content = content if is_file else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def is_known(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def find(self, name, revision):
        """The repository, or None after an error was sent."""
        repository = self.hub.repositories.get(name)
        if repository is None or repository.private and not self.is_known:
            self.send(404, {}, X_Error_Code="RepoNotFound")
        elif repository.gated and not self.is_known:
            self.send(403, {}, X_Error_Code="GatedRepo")
        elif repository.find(revision) is None:
            self.send(404, {}, X_Error_Code="RevisionNotFound")
        else:
            return repository
        return None

    def resolve(self, name, revision, file):
        repository = self.find(name, revision)
        if repository is None:
            return
        commit = repository.find(revision)
        content = repository.commits[commit].get(file)
        if content is None:
            self.send(404, {}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self.send(200, content, ETag=etag, X_Repo_Commit=commit)

    def tree(self, name, revision):
        repository = self.find(name, revision)
        if repository is not None:
            files = repository.commits[repository.find(revision)]
            about = [
                dict(type="file", path=path, size=len(content), oid="0" * 40)
                for path, content in files.items()
            ]
            self.send(200, about)

    def create(self):
        about = json.loads(self.body)
        name = f"{about['organization']}/{about['name']}"
        if not self.is_known:
            self.send(401, {"error": "Invalid credentials"})
        elif name in self.hub.repositories:
            self.send(409, {"url": f"{self.hub.url}/{name}"})
        else:
            private = about.get("visibility") == "private"
            repository = self.hub.repositories[name] = StubRepository(private)
            repository.commit({".gitattributes": b"*.bin filter=lfs\n"})
            self.send(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def branch(self, name, branch):
        repository = self.hub.repositories[name]
        if branch in repository.refs:
            self.send(409, {"error": "it exists"})
        else:
            repository.refs[branch] = repository.refs["main"]
            self.send(200, {})

    def validate(self):
        self.send(200, {"errors": [], "warnings": []})

    def preupload(self, name, revision):
        repository = self.find(name, revision)
        if repository is not None:
            files = [file["path"] for file in json.loads(self.body)["files"]]
            about = [
                dict(
                    path=path,
                    uploadMode="lfs" if path.endswith(".safetensors") else "regular",
                    shouldIgnore=False,
                )
                for path in files
            ]
            self.send(200, {"files": about})

    def lfs(self, name):
        asked = json.loads(self.body)["objects"]
        places = [f"{self.hub.url}/upload/{about['oid']}" for about in asked]
        objects = [
            {**about, "actions": {"upload": {"href": place}}}
            for about, place in zip(asked, places, strict=True)
        ]
        self.send(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid):
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.large[oid] = self.body
        self.send(200, {})

    def make_commit(self, name, revision):
        repository = self.hub.repositories[name]
        files = dict(repository.commits[repository.find(revision)])
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                assert entry["key"] == "deletedFile"
                del files[value["path"]]
        commit = repository.commit(files, revision, message)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self.send(200, {"commitOid": commit, "commitUrl": url})


NAME = "([^/]+/[^/]+)"
ROUTES = [
    (f"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    ("/api/repos/create", Handler.create),
    ("/api/validate-yaml", Handler.validate),
    (f"/api/models/{NAME}/tree/([^/]+)", Handler.tree),
    (f"/api/models/{NAME}/branch/([^/]+)", Handler.branch),
    (f"/api/models/{NAME}/preupload/([^/]+)", Handler.preupload),
    (f"/api/models/{NAME}/commit/([^/]+)", Handler.make_commit),
    (f"/{NAME}.git/info/lfs/objects/batch", Handler.lfs),
    ("/upload/([0-9a-f]+)", Handler.upload),
]


@contextlib.contextmanager
def serving():
    """A hub that runs in a thread until the block ends."""
    handler = type("OneHub", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.hub = StubHub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield handler.hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def serving_as_hub(monkeypatch, folder):
    """A stub that huggingface_hub takes for the hub, with its cache in a folder."""
    with serving() as stub:
        for name, value in {
            "ENDPOINT": stub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": stub.url + URL,
            "HF_HUB_OFFLINE": False,
            "HF_HUB_CACHE": str(folder / "cache"),
            "HF_TOKEN_PATH": str(folder / "no-token"),
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield stub
