"""What makes a site of docs/, as MkDocs calls it: see mkdocs.yml.

Pages link to sources that lie beside docs/; the site has those as plain text under `source/`. README.md
and CONTRIBUTING.md are not part of it, but their links are checked with the others. What is written must
load nothing from elsewhere.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LOG = logging.getLogger("mkdocs.hooks.site")
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
LOADS = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)="(?:https?:)?//[^"]*"[^>]*>')
IMPORTS = re.compile(r"""url\(["']?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*;""")
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def sources(markdown, page):
    """(link, file) of each link that leads out of docs/."""
    found = []
    for _, link, _ in LINK.findall(markdown):
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link.partition("#")[0]))
        if "://" not in link and not path.startswith("docs"):
            found.append((link, path))
    return found


def on_files(files, config):
    for page in list(files.documentation_pages()):
        for _, path in sources(page.content_string, page.src_uri):
            name = f"source/{path}.txt"
            if (ROOT / path).is_file() and name not in files.src_uris:
                files.append(File.generated(config, name, content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown, page, config, files):
    for link, path in sources(markdown, page.file.src_uri):
        if (ROOT / path).is_file():
            there = posixpath.relpath(f"source/{path}.txt", posixpath.dirname(page.file.src_uri) or ".")
        elif (ROOT / path).is_dir():
            there = None
        else:
            LOG.warning("%s links to %s, which is not there", page.file.src_uri, link)
            continue
        if there:
            markdown = markdown.replace(f"]({link})", f"]({there})")
        else:  # a folder is named, not linked
            markdown = re.sub(rf"\[([^]]+)\]\({re.escape(link)}\)", r"\1", markdown)
    return markdown


def on_post_build(config):
    for name in BESIDE:
        for _, link, _ in LINK.findall((ROOT / name).read_text()):
            path, _, anchor = link.partition("#")
            if "://" in link or not path:
                continue
            page = Path(config["site_dir"], path.removeprefix("docs/")).with_suffix(".html")
            if not (ROOT / path).exists() or (anchor and f'id="{anchor}"' not in page.read_text()):
                LOG.warning("%s links to %s, which is not there", name, link)
    for file in Path(config["site_dir"]).rglob("*"):
        pattern = {".html": LOADS, ".css": IMPORTS}.get(file.suffix)
        elsewhere = pattern and pattern.search(file.read_text())
        if elsewhere:
            raise PluginError(f"{file} loads from elsewhere: {elsewhere[0]}")
