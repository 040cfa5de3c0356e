"""Every page of the console, once: routes, twins and the description of the API are made of this."""

from __future__ import annotations

from usance.web import accesses, audit_pages, doctoring, listing, operations, pages, retention
from usance.web.pages import Page

PAGES: tuple[Page, ...] = (
    *pages.PAGES,
    listing.PAGE,
    doctoring.PAGE,
    *operations.PAGES,
    *audit_pages.PAGES,
    *accesses.PAGES,
    *retention.PAGES,
)
"""All pages. Today is the first, and stands at `/` too."""
