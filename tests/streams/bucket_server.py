"""Bucket server: as much of S3's protocol as an object store needs, over HTTP on loopback, for tests.

Signatures are not checked, and a page of a listing has two names, so that there are pages.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_PAGE = 2


class _Bucket(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: str
    objects: dict[str, bytes]
    parts: dict[tuple[str, int], bytes]

    def do_PUT(self) -> None:
        value = self._body()
        if not self._found():
            return
        if "uploadId" in self._query:
            self.parts[self._key, int(self._query["partNumber"][0])] = value
        else:
            self.objects[self._key] = value
        self._answer(200, b"", ETag=_etag(value))

    def do_GET(self) -> None:
        if not self._found():
            return
        if "list-type" in self._query:
            self._answer(200, self._listing(self._query["prefix"][0]))
        elif self._key in self.objects:
            value = self.objects[self._key]
            self._answer(200, value, ETag=_etag(value), **{"Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"})
        else:
            self._problem("NoSuchKey")

    def do_POST(self) -> None:
        body = self._body()
        if not self._found():
            return
        if "delete" in self._query:
            keys = [each.text or "" for each in ElementTree.fromstring(body).iter() if each.tag.endswith("Key")]
            for key in keys:
                self.objects.pop(key, None)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
        elif "uploads" in self._query:
            self._answer(200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
        else:
            places = sorted(place for key, place in self.parts if key == self._key)
            self.objects[self._key] = b"".join(self.parts.pop((self._key, place)) for place in places)
            result = f"<CompleteMultipartUploadResult><ETag>{len(places)}</ETag></CompleteMultipartUploadResult>"
            self._answer(200, result.encode())

    def do_DELETE(self) -> None:
        if self._found():
            self.objects.pop(self._key, None)
            self._answer(204, b"")

    @property
    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _found(self) -> bool:
        there = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[0] == self.bucket
        if not there:
            self._problem("NoSuchBucket")
        return there

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _listing(self, prefix: str) -> bytes:
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        start = int(self._query.get("continuation-token", ["0"])[0])
        more = len(keys) > start + _PAGE
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>"
            f"<Size>{len(self.objects[key])}</Size></Contents>"
            for key in keys[start : start + _PAGE]
        )
        token = f"<NextContinuationToken>{start + _PAGE}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{truncated}{token}{contents}</ListBucketResult>".encode()

    def _problem(self, code: str) -> None:
        self._answer(404, f"<Error><Code>{code}</Code></Error>".encode())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it that
        """Say nothing: what matters fails in the client."""


def _etag(value: bytes) -> str:
    return f'"{hashlib.sha256(value).hexdigest()}"'


@contextmanager
def serving(bucket: str) -> Iterator[str]:
    """Serve one bucket; gives the endpoint's URL."""
    handler = type("Bucket", (_Bucket,), {"bucket": bucket, "objects": {}, "parts": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)
