"""Makes the documents at the root of the repository pages of the site, and their links lead where they should."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name in PAGES:
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Aim links from the root at the site's pages; what is no page is shown as the name of a file."""
    if page.file.src_uri not in PAGES:
        return markdown

    def aimed(match: re.Match[str]) -> str:
        text, target = match[1], match[2].removeprefix("docs/")
        if re.match(r"https?:|#", target) or target in PAGES or (ROOT / "docs" / target).is_file():
            return f"[{text}]({target})"
        return f"`{text.strip('`')}`"

    return _LINK.sub(aimed, markdown)
